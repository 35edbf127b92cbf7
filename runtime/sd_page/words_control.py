"""What ControlNet units say, in English and Chinese."""

from sd_page import units, words

#: Translated in the browser.
_LABELS: dict[str, tuple[str, str]] = {
    "control_title": ("ControlNet", "ControlNet"),
    **{f"control_unit_{n}": (f"Unit {n}", f"单元 {n}") for n in range(1, units.MOST + 1)},
    "control_enable": ("Enable", "启用"),
    "control_type": ("Control type", "控制类型"),
    "control_module": ("Preprocessor", "预处理器"),
    "control_model": ("Model", "ControlNet 模型"),
    "control_source": ("Control picture", "控制图像来源"),
    "control_source_txt2img": (
        "Of a set, the first image is for the first picture of a batch, the second for the second, …",
        "一组图像时：第一张用于批次的第一张图，第二张用于第二张，依此类推。",
    ),
    "control_source_img2img": (
        "Without one, the picture that is drawn over is used. Of a set, the first image is for the first"
        " picture of a batch, the second for the second, …",
        "不上传时使用图生图的原图。一组图像时：第一张用于批次的第一张图，第二张用于第二张，依此类推。",
    ),
    "control_single": ("Single image", "单张图像"),
    "control_set": ("Set of images", "一组图像"),
    "control_image": ("Control image", "控制图像"),
    "control_image_set": ("Control images", "控制图像（多张）"),
    "control_mask_title": ("Mask of the control image", "控制图像的蒙版"),
    "control_mask": ("Control mask", "控制蒙版"),
    "control_run": ("Run preprocessor", "运行预处理器"),
    "control_preview": ("Preview of the preprocessor", "预处理结果预览"),
    "control_pixel_perfect": ("Pixel perfect", "完美像素模式"),
    "control_pixel_perfect_info": (
        "The resolution follows from the picture's size when it is drawn; not in the preview.",
        "生成时按图像尺寸自动确定分辨率；预览时不生效。",
    ),
    "control_processor_res": ("Resolution", "预处理器分辨率"),
    "control_threshold_a": ("Threshold A", "阈值 A"),
    "control_threshold_b": ("Threshold B", "阈值 B"),
    "control_weight": ("Control weight", "控制权重"),
    "control_guidance_start": ("Starting control step", "引导介入时机"),
    "control_guidance_end": ("Ending control step", "引导终止时机"),
    "control_control_mode": ("Control mode", "控制模式"),
    "control_control_mode_0": ("Balanced", "均衡"),
    "control_control_mode_1": ("My prompt is more important", "更偏向提示词"),
    "control_control_mode_2": ("ControlNet is more important", "更偏向 ControlNet"),
    "control_resize_mode": ("Resize mode of the control image", "控制图像缩放模式"),
    "control_resize_mode_0": ("Just resize", "仅调整大小"),
    "control_resize_mode_1": ("Crop and resize", "裁剪后缩放"),
    "control_resize_mode_2": ("Resize and fill", "缩放后填充空白"),
    "control_hr_option": ("With hires. fix", "高分辨率修复时"),
    "control_hr_option_0": ("Both passes", "两次都用"),
    "control_hr_option_1": ("First pass only", "仅第一次"),
    "control_hr_option_2": ("Second pass only", "仅第二次"),
}

#: Written by the server, with places for values.
SENTENCES: dict[str, tuple[str, str]] = {
    "control_type_empty": (
        "this server has neither a preprocessor nor a ControlNet for it",
        "此服务器没有可用于该类型的预处理器或 ControlNet",
    ),
    "control_more_units": (
        "This server takes {count} units at a time; this page has {most}.",
        "此服务器每次最多接受 {count} 个单元；本页面提供 {most} 个。",
    ),
    "control_more_told": (
        "The picture was made with more units than this page has: those beyond {most} are left out.",
        "该图片使用的单元多于本页面提供的数量：第 {most} 个之后的已略去。",
    ),
    "control_picture_missing": ("Choose a control image first.", "请先选择控制图像。"),
    "control_module_barred": (
        "This preprocessor cannot be used now: {reason}",
        "该预处理器目前不可用：{reason}",
    ),
    "control_model_barred": ("This ControlNet cannot be used: {reason}", "该 ControlNet 不可用：{reason}"),
}

EN = {key: english for key, (english, _) in _LABELS.items()}
ZH = {key: chinese for key, (_, chinese) in _LABELS.items()}


def sentence(language: words.Language, key: str, **values: object) -> str:
    """A sentence that the server writes."""
    english, chinese = SENTENCES[key]
    return (chinese if language == words.CHINESE else english).format(**values)
