"""Files that `torch.save` wrote: looked into, and converted to safetensors, without PyTorch and without
running anything of theirs.

`machine` reads the opcodes, `allowed` knows which globals may be named, `values` is what they make;
`torchfile` and `archive` know the file around the pickle, `naming` what its tensors are called, `copying` how
their elements lie. `scanning` puts it together.
"""

from sd_modelfiles.pickles.errors import PickleMalformed, PickleUnsafe
from sd_modelfiles.pickles.scanning import PickleReport, convert, inspect

__all__ = ["PickleMalformed", "PickleReport", "PickleUnsafe", "convert", "inspect"]
