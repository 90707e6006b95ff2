"""Check that a wheel holds every file of the package that git tracks, templates and py.typed too.

python3 .ci/wheel_contents.py WHEEL
"""

import subprocess
import sys
import zipfile

tracked = subprocess.run(
    ["git", "ls-files", "src/quarterturn"], check=True, capture_output=True, text=True
).stdout
expected = {name.removeprefix("src/") for name in tracked.split("\n") if name}
with zipfile.ZipFile(sys.argv[1]) as wheel:
    found = {name for name in wheel.namelist() if name.startswith("quarterturn/")}

if found != expected:
    sys.exit(
        f"{sys.argv[1]} is not the package: it lacks {sorted(expected - found)} and has besides "
        f"{sorted(found - expected)}; see [tool.setuptools] in pyproject.toml"
    )
print(f"the wheel holds all {len(found)} files of the package")
