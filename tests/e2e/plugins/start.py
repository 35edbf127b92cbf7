"""Starts what the container's name says: a plugin of this folder, supervised as the project's own are."""

import os
import runpy
import sys

name = os.environ["SD_PLUGIN_NAME"]
if name == "breaking":
    runpy.run_path("/opt/test/breaking.py", run_name="__main__")
else:
    os.execv(sys.executable, [sys.executable, "-m", "sd_plugin", "serve", name])
