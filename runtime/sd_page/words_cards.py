"""What cards of LoRAs, embeddings and hypernetworks say, in English and Chinese."""

from sd_page import words

#: Translated in the browser.
_LABELS: dict[str, tuple[str, str]] = {
    "cards_lora": ("LoRA", "LoRA"),
    "cards_embedding": ("Embeddings", "嵌入"),
    "cards_hypernetwork": ("Hypernetworks", "超网络"),
}

#: Written by the server, with places for values.
SENTENCES: dict[str, tuple[str, str]] = {
    "cards_search": ("Search", "搜索"),
    "cards_list_lora": ("LoRAs", "LoRA 列表"),
    "cards_list_embedding": ("Embeddings", "嵌入列表"),
    "cards_list_hypernetwork": ("Hypernetworks", "超网络列表"),
    "cards_none": ("There are none in this server's folder of models.", "此服务器的模型文件夹中没有。"),
    "cards_no_match": ("None of them matches.", "没有匹配项。"),
    "cards_inserted": ("Inserted {text}", "已插入 {text}"),
    "cards_trigger_words": ("Trigger words of {name}", "{name} 的触发词"),
    "cards_barred": ("Cannot be used: {reason}", "不可用：{reason}"),
}

EN = {key: english for key, (english, _) in _LABELS.items()}
ZH = {key: chinese for key, (_, chinese) in _LABELS.items()}


def sentence(language: words.Language, key: str, **values: object) -> str:
    """A sentence that the server writes."""
    english, chinese = SENTENCES[key]
    return (chinese if language == words.CHINESE else english).format(**values)
