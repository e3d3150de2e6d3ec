"""The first line that the live page's server streams."""

from urllib.request import urlopen

with urlopen("http://127.0.0.1:8250/stream", timeout=60) as stream:
    print(stream.readline().decode().strip())
