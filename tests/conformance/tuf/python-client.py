"""python-tuf's own client (tuf.ngclient) against a repository: refresh, then download the targets named.

    python3 -m venv venv && venv/bin/pip install tuf
    TUF_AUTHORIZATION='Basic …' venv/bin/python python-client.py METADATA_URL TARGETS_URL ROOT_FILE FOLDER TARGET...
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig


class PairFetcher(FetcherInterface):
    """Asks with the access pair."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        request = urllib.request.Request(url, headers={"Authorization": os.environ["TUF_AUTHORIZATION"]})
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                yield response.read()
        except urllib.error.HTTPError as error:
            raise DownloadHTTPError(str(error), error.code) from error


metadata_url, targets_url, root, folder, *targets = sys.argv[1:]
with open(root, "rb") as file:
    bootstrap = file.read()
updater = Updater(
    metadata_dir=folder,
    metadata_base_url=metadata_url,
    target_dir=folder,
    target_base_url=targets_url,
    fetcher=PairFetcher(),
    config=UpdaterConfig(prefix_targets_with_hash=True),
    bootstrap=bootstrap,
)
updater.refresh()
for target in targets:
    info = updater.get_targetinfo(target)
    if info is None:
        sys.exit(f"{target} is not listed")
    print(target, updater.download_target(info))
