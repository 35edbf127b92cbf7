"""What the page says, in English and Chinese.

Labels are translated in the browser, by its language; sentences that the server writes, by Accept-Language.
What the interface says (refusals, reasons) stays in its own words.
"""

from collections.abc import Callable, Mapping

import gradio as gr
from gradio.i18n import I18nData

#: English and Chinese of each key of the core; other parts bring their own.
_CORE: dict[str, tuple[str, str]] = {
    # above the tabs
    "checkpoint": ("Checkpoint", "模型"),
    "refresh": ("Refresh", "刷新"),
    "vae": ("VAE", "VAE"),
    "clip_skip": ("Clip skip", "CLIP 跳过层"),
    "dark_mode": ("Dark mode", "深色模式"),
    # tabs
    "txt2img": ("txt2img", "文生图"),
    "img2img": ("img2img", "图生图"),
    "extras": ("Extras", "后期处理"),
    "png_info": ("PNG info", "图片信息"),
    "gallery": ("Gallery", "图库"),
    "inpaint": ("Inpaint", "局部重绘"),
    "inpaint_upload": ("Inpaint upload", "上传蒙版重绘"),
    # prompt
    "prompt": ("Prompt", "提示词"),
    "negative_prompt": ("Negative prompt", "反向提示词"),
    "prompt_hint": ("What should be in the picture (Ctrl+Enter generates)", "图片内容(Ctrl+Enter 生成)"),
    "negative_hint": ("What should not be in it", "图片中不应出现的内容"),
    "styles": ("Styles", "预设样式"),
    "read_prompt": ("Read parameters from the prompt", "从提示词读取参数"),
    "generate": ("Generate", "生成"),
    "cancel": ("Cancel", "取消"),
    # sampling
    "sampler": ("Sampling method", "采样方法"),
    "scheduler": ("Schedule type", "调度类型"),
    "steps": ("Sampling steps", "采样步数"),
    "width": ("Width", "宽度"),
    "height": ("Height", "高度"),
    "swap": ("Swap width and height", "交换宽高"),
    "batch_count": ("Batch count", "批次数"),
    "batch_size": ("Batch size", "每批数量"),
    "cfg_scale": ("CFG scale", "提示词引导系数"),
    "seed": ("Seed", "随机种子"),
    "random_seed": ("Random seed", "随机"),
    "reuse_seed": ("Reuse seed", "沿用上次种子"),
    # hires
    "hires": ("Hires. fix", "高分辨率修复"),
    "upscaler": ("Upscaler", "放大算法"),
    "hires_steps": ("Hires steps", "高分迭代步数"),
    "denoising": ("Denoising strength", "重绘幅度"),
    "upscale_by": ("Upscale by", "放大倍数"),
    "resize_width": ("Resize width to", "调整宽度至"),
    "resize_height": ("Resize height to", "调整高度至"),
    "zero_off": ("0: by the factor", "0:按倍数"),
    "zero_same": ("0: as many as sampling steps", "0:与采样步数相同"),
    # img2img
    "picture": ("Picture", "图片"),
    "mask": ("Mask (white is drawn anew)", "蒙版(白色部分重绘)"),
    "editor": ("Picture and mask (paint over what is to be drawn anew)", "图片与蒙版(涂抹需要重绘的部分)"),
    "resize_mode": ("Resize mode", "缩放模式"),
    "just_resize": ("Just resize", "拉伸"),
    "crop": ("Crop and resize", "裁剪"),
    "fill": ("Resize and fill", "填充"),
    "latent_resize": ("Just resize (latent upscale)", "拉伸(潜空间放大)"),
    "mask_blur": ("Mask blur", "蒙版模糊"),
    "mask_mode": ("Mask mode", "蒙版模式"),
    "masked": ("Inpaint masked", "重绘蒙版内容"),
    "not_masked": ("Inpaint not masked", "重绘非蒙版内容"),
    "masked_content": ("Masked content", "蒙版区域内容"),
    "content_fill": ("fill", "填充"),
    "content_original": ("original", "原图"),
    "content_noise": ("latent noise", "潜空间噪声"),
    "content_nothing": ("latent nothing", "空白潜空间"),
    "inpaint_area": ("Inpaint area", "重绘区域"),
    "whole_picture": ("Whole picture", "整张图片"),
    "only_masked": ("Only masked", "仅蒙版区域"),
    "padding": ("Only masked padding, pixels", "仅蒙版区域的边缘像素"),
    # extras
    "scale_by": ("Scale by", "按倍数"),
    "scale_to": ("Scale to", "按尺寸"),
    "resize": ("Resize", "缩放倍数"),
    "crop_to_fit": ("Crop to fit", "裁剪以适应"),
    "upscaler_1": ("Upscaler 1", "放大算法 1"),
    "upscaler_2": ("Upscaler 2", "放大算法 2"),
    "visibility": ("Upscaler 2 visibility", "放大算法 2 可见度"),
    # results
    "pictures": ("Pictures", "生成结果"),
    "parameters": ("Parameters of the picture", "图片参数"),
    "to_txt2img": ("Send to txt2img", "发送到文生图"),
    "to_img2img": ("Send to img2img", "发送到图生图"),
    "to_inpaint": ("Send to inpaint", "发送到局部重绘"),
    "to_extras": ("Send to extras", "发送到后期处理"),
    "to_png_info": ("Send to PNG info", "发送到图片信息"),
}

#: What the server writes itself, with places for values.
_SENTENCES: dict[str, tuple[str, str]] = {
    "title": ("Stable Diffusion", "Stable Diffusion"),
    "handing_in": ("Handing in …", "正在提交…"),
    "waiting": ("Waiting: place {position} in the queue", "排队中:第 {position} 位"),
    "starting": ("Starting …", "正在开始…"),
    "step": ("Step {step} of {steps}", "第 {step} 步,共 {steps} 步"),
    "eta": ("{seconds} s left", "剩余 {seconds} 秒"),
    "finishing": ("Finishing …", "即将完成…"),
    "cancelling": ("Cancelling …", "正在取消…"),
    "cancelled": ("Cancelled.", "已取消。"),
    "done": ("Done: {count} picture(s).", "完成:{count} 张图片。"),
    "progress": ("Progress", "进度"),
    "preview": ("Preview of the picture", "图片预览"),
    "no_picture": ("A picture is needed here.", "请先选择图片。"),
    "no_mask": ("A mask is needed here.", "请先提供蒙版。"),
    "nothing_drawn": (
        "Nothing is masked yet: paint over what is to be drawn anew.",
        "尚未绘制蒙版:请涂抹需要重绘的部分。",
    ),
    "none_selected": ("There is no picture to send yet.", "还没有可发送的图片。"),
    "no_parameters": ("The picture tells nothing of how it was made.", "图片中没有生成参数。"),
    "drawn_elsewhere": (
        "What was drawn does not belong to this picture: clear it, choose the picture again and paint anew.",
        "涂抹内容与图片不符,请清除后重新选择图片并涂抹。",
    ),
    "too_many_pixels": (
        "The picture has {width}x{height} pixels; this server takes at most {most} of one picture.",
        "图片为 {width}x{height} 像素;此服务器的单张图片最多 {most} 像素。",
    ),
    "far_too_many_pixels": (
        "The picture has far more pixels than the {most} that this server takes of one picture.",
        "图片像素过多:此服务器的单张图片最多 {most} 像素。",
    ),
    "too_many_layers": (
        "What was drawn has {count} layers; at most {most} can be taken.",
        "涂抹内容有 {count} 个图层;最多 {most} 个。",
    ),
    "too_large": (
        "The number that was read here is larger than a browser can show, and was left out.",
        "读取的数值超出浏览器可显示的范围,已略去。",
    ),
    "not_a_picture": ("The file is not a picture that can be read.", "无法读取该图片文件。"),
    "lost": ("The server no longer knows this job: {reason}", "服务器已不再保留此任务:{reason}"),
    "defect": (
        "The page failed at this; the server's log says why.",
        "页面处理失败;原因见服务器日志。",
    ),
    "cannot_list": ("The server cannot say what it has: {reason}", "服务器无法列出内容:{reason}"),
    "family": ("Family", "系列"),
    "size": ("Size", "大小"),
    "hash": ("Hash", "哈希"),
}

Language = str
#: Writes a sentence in a visitor's language: its key, and what stands in it.
Sentence = Callable[..., str]
ENGLISH, CHINESE = "en", "zh"


def say(key: str) -> I18nData:
    """A label, in the language of whoever's browser shows it."""
    return _I18N(key)


def sentence(language: Language, key: str, **values: object) -> str:
    """A sentence that the server writes."""
    english, chinese = _SENTENCES.get(key) or _CORE[key]
    return (chinese if language == CHINESE else english).format(**values)


def language_of(headers: Mapping[str, str]) -> Language:
    """The first language of Accept-Language that the page has; English where it names none."""
    for each in headers.get("accept-language", "").lower().split(","):
        primary = each.partition(";")[0].strip().partition("-")[0]
        if primary in (ENGLISH, CHINESE):
            return primary
    return ENGLISH


def translations(*parts: tuple[Mapping[str, str], Mapping[str, str]]) -> gr.I18n:
    """All labels, for the browser: the core's, and those of parts, English and Chinese by key."""
    english = {key: words[0] for key, words in _CORE.items()}
    chinese = {key: words[1] for key, words in _CORE.items()}
    for more_english, more_chinese in parts:
        english |= more_english
        chinese |= more_chinese
    # Gradio looks for a browser's language by its whole name.
    return gr.I18n(en=english, zh=chinese, **{"zh-CN": chinese, "zh-TW": chinese, "zh-HK": chinese})


_I18N = gr.I18n()
