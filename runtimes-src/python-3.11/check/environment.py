"""An environment of one's own, into which pip installs a wheel without a network."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

place = Path(tempfile.mkdtemp())
subprocess.run([sys.executable, "-m", "venv", place / "v"], check=True)
info = "hello-1.dist-info"
with zipfile.ZipFile(place / "hello-1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("hello.py", "def main():\n    print('hello')\n")
    wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hello\nVersion: 1\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nhello = hello:main\n")
    wheel.writestr(f"{info}/RECORD", "")
pip = [place / "v/bin/python", "-m", "pip", "install", "--no-index", "--quiet"]
subprocess.run([*pip, place / "hello-1-py3-none-any.whl"], check=True)
said = subprocess.run([place / "v/bin/hello"], check=True, capture_output=True, text=True).stdout
assert said == "hello\n", said
