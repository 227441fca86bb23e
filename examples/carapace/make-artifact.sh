#!/bin/sh
# Stands in for the product's own build. Arguments: version, target, file to write.
set -e
mkdir -p "$(dirname "$3")"
printf '#!/bin/sh\necho "cara %s (%s)"\n' "$1" "$2" > "$3"
