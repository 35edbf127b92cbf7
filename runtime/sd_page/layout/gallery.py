"""The tab with all pictures of this session."""

from sd_page.layout import output
from sd_page.layout.form import Form
from sd_page.layout.output import Output


def build() -> Output:
    """Builds it here."""
    return output.build(Form("gallery"), followed=False)
