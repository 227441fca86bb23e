/** A program that answers like Docker and keeps its images in files: knows the calls that the updater makes, anything else fails. What was called stands in `calls`. */

export const fakeDocker = (folder: string): string => `#!/bin/sh
S=${folder}/engine
echo "$*" >> $S/calls
env >> $S/environment
# An id, or a name: the file with its last part holds the id.
resolve() { if [ -e "$S/images/$1" ]; then echo "$1"; else cat "$S/tags/$(basename "$1")" 2>/dev/null; fi; }
config_of() { sed 's/.*"config":{[^}]*"digest":"\\(sha256:[0-9a-f]*\\)".*/\\1/'; }
config=
if [ "$1" = --config ]; then config=$2; shift 2; fi
case "$1 $2" in
"load --input")
  blob() { tar -xOf "$1" "blobs/sha256/\${2#sha256:}"; }
  m=$(tar -xOf "$3" index.json | grep -o 'sha256:[0-9a-f]*' | head -1)
  c=$(blob "$3" "$m" | config_of)
  blob "$3" "$c" > "$S/images/$c.new" && mv "$S/images/$c.new" "$S/images/$c" ;;
"pull --platform")
  ref=$4; host=\${ref%%/*}; rest=\${ref#*/}; repository=\${rest%@*}; digest=\${rest#*@}
  stat -c %a "$config" "$config/config.json" > $S/login-modes
  cp "$config/config.json" $S/login.json
  [ ! -e $S/kill-in-pull ] || { rm $S/kill-in-pull; kill -9 $PPID; exit 1; }
  [ ! -e $S/pull-says ] || { cat $S/pull-says >&2; exit 1; }
  auth=$(sed 's/.*"auth":"\\([^"]*\\)".*/\\1/' "$config/config.json")
  get() { curl -fsS -H "Authorization: Basic $auth" "http://$host/v2/$repository/$1"; }
  c=$(get "manifests/$digest" | config_of)
  [ ! -e $S/pulls-other ] || { c=$(cat $S/pulls-other); echo "$c" > "$S/tags/$(basename "$ref")"; exit 0; }
  get "blobs/$c" > "$S/images/$c.new" && mv "$S/images/$c.new" "$S/images/$c"
  echo "$c" > "$S/tags/$(basename "$ref")" ;;
"image inspect") if [ "$3" = --format ]; then resolve "$5" | grep .; else resolve "$3" | grep -q .; fi ;;
"image rm") rm -f "$S/tags/$(basename "$3")" ;;
"tag "*) id=$(resolve "$2"); [ -n "$id" ] && echo "$id" > "$S/tags/$(basename "$3")" ;;
"inspect --format") cat "$S/running" ;;
"compose --file")
  shift
  while [ "$1" = --file ]; do file=$2; shift 2; done
  case "$1" in
  ps) [ -e "$S/running" ] && echo container-1; exit 0 ;;
  stop) [ -e "$file" ] || exit 14; rm -f ${folder}/run/version "$S/running" ;;
  up)
    image=$(sed -n 's/ *image: "\\(.*\\)"/\\1/p' "$file")
    [ -e "$S/images/$image" ] || { echo "no such image: $image" >&2; exit 1; }
    grep -q CRASHES "$S/images/$image" && exit 1
    version=$(grep -o 'VERSION=[0-9.]*' "$S/images/$image" | head -1)
    echo "$image" > "$S/running"
    echo "\${version#VERSION=}" > ${folder}/data/format
    echo "\${version#VERSION=}" > ${folder}/run/version ;;
  *) exit 64 ;;
  esac ;;
*) exit 64 ;;
esac
`;
