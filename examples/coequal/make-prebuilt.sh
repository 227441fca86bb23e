#!/bin/sh
# Stands in for the product's own build. Arguments: version, <os>_<arch>, .exe or nothing.
set -e
mkdir -p "prebuilt/$2"
printf '#!/bin/sh\necho "coequal %s (%s)"\n' "$1" "$2" > "prebuilt/$2/coequal${3:-}"
