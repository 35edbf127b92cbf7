"""A folder of A1111, ComfyUI or stable-diffusion-webui-docker → ModelBundles that copy it off its volume."""
