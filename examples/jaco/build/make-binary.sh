#!/bin/sh
# Stands in for the compiler: writes a program that prints its name, version and target. Arguments: name, tag, target, file to write.
set -e
printf '#!/bin/sh\necho "%s %s (%s)"\n' "$1" "$2" "$3" > "$4"
