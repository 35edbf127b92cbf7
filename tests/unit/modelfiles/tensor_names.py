"""Names and shapes of tensors as files of each type have them."""

UNET = "model.diffusion_model."
ATTENTION = UNET + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
VAE = {
    "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (8, 4, 3, 3),
}
SD15_TEXT = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
SD21_TEXT = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"
SDXL_TEXT = {
    "conditioner.embedders.0.transformer.text_model.embeddings.position_embedding.weight": (4,),
    "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight": (4,),
}
REFINER_TEXT = "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight"
CHECKPOINT = {ATTENTION: (3, 768), SD15_TEXT: (4, 768), **VAE}

KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
KOHYA_XL = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k"
LDM_ATTENTION = "input_blocks.1.1.transformer_blocks.0.attn2.to_k"
DIFFUSERS = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2"
TEXT = "lora_te_text_model_encoder_layers_0_self_attn_k_proj"


def low_rank(module, rank, width, down="lora_down.weight", up="lora_up.weight"):
    return {f"{module}.{down}": (rank, width), f"{module}.{up}": (320, rank), f"{module}.alpha": ()}


def hypernetwork(*widths):
    return {f"{width}.{side}.linear.0.weight": (2, 2) for width in widths for side in (0, 1)}
