/** `verify.sh` of a bundle: proves it on a machine without Slipway, with sha256sum and gpgv or minisign, under any POSIX shell. */

/**
 * What it proves, in this order: every file is one that SHA256SUMS lists and has that digest; Release, InRelease and repomd.xml are signed by the
 * product's OpenPGP keys and lead by digests to the indexes and packages that are here; the sums of every release are signed, are of that
 * version, and lead to its files; every image blob has the digest that is its name. gpgv exits 0 for signatures of revoked and expired keys: its
 * status lines decide, not its exit code (gnupg doc/DETAILS).
 */
export const verifyScript = String.raw`#!/bin/sh
# Verifies this bundle without Slipway. Needs sha256sum, gzip, awk, and gpgv or minisign.
#   sh verify.sh              with the keys in tree/keys: compare them with what the vendor publishes elsewhere
#   sh verify.sh /etc/vendor  with your own copies: <product>.gpg, <product>.minisign.pub
set -u
LC_ALL=C
export LC_ALL
cd "$(dirname "$0")" || exit 2
keys=tree/keys
if [ $# -gt 0 ]; then keys=$1; else echo "NOTE  keys from the bundle itself: compare tree/keys with what the vendor publishes elsewhere"; fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failures=0
fail() { echo "FAIL  $1"; failures=$((failures + 1)); }
pass() { echo "PASS  $1"; }
have() { command -v "$1" >/dev/null 2>&1; }
have sha256sum || { echo "FAIL  there is no sha256sum"; exit 2; }

# check_list FOLDER LIST NAME: "<hex>  <path>" lines; paths that are not here belong to another bundle or architecture
check_list() {
  while read -r hex path; do
    case $path in /* | ../* | */../* | */..) echo "0  path-unsafe" ;; *) [ -f "$1/$path" ] && echo "$hex  $path" ;; esac
  done <"$2" >"$work/here"
  count=$(wc -l <"$work/here")
  [ "$count" -eq 0 ] && return 0
  if (cd "$1" && sha256sum -c "$work/here") >"$work/out" 2>&1; then pass "$3 ($((count)) files)"; else
    fail "$3"
    grep -v ': OK$' "$work/out"
  fi
}

# openpgp_good KEYRING ARGUMENTS...: a good signature, and none by a revoked or expired key
openpgp_good() {
  ring=$1
  shift
  case $ring in /*) ;; *) ring=$PWD/$ring ;; esac
  gpgv --status-fd 3 --keyring "$ring" "$@" 3>"$work/status" >/dev/null 2>&1
  grep -q '^\[GNUPG:\] GOODSIG ' "$work/status" || return 1
  ! grep -Eq '^\[GNUPG:\] (BADSIG|EXPSIG|EXPKEYSIG|REVKEYSIG) ' "$work/status"
}

# 1. nothing is damaged, nothing is here that is not listed
check_list . SHA256SUMS "files of the bundle"
[ "$count" -eq "$(wc -l <SHA256SUMS)" ] || fail "SHA256SUMS lists files that are not here"
awk '{ print $2 }' SHA256SUMS | sort >"$work/listed"
find tree ! -type d | sort >"$work/found"
grep '^tree/' "$work/listed" | cmp -s - "$work/found" || fail "there are files that SHA256SUMS does not list"
[ -z "$(find tree ! -type d ! -type f)" ] || fail "there are links or devices"

# 2. APT
for release in tree/apt/*/dists/*/Release; do
  [ -f "$release" ] || continue
  dist=$(dirname "$release")
  root=$(dirname "$(dirname "$dist")")
  product=$(basename "$root")
  have gpgv || { fail "$release: there is no gpgv"; continue; }
  if openpgp_good "$keys/$product.gpg" "$dist/Release.gpg" "$release"; then pass "$release is signed"; else fail "$release: no good signature"; continue; fi
  sed -e '1,/^$/d' -e '/^-----BEGIN PGP SIGNATURE-----$/,$d' -e 's/^- //' "$dist/InRelease" >"$work/text"
  if openpgp_good "$keys/$product.gpg" "$dist/InRelease" && cmp -s "$work/text" "$release"; then pass "$dist/InRelease is signed"; else fail "$dist/InRelease: no good signature, or another text"; fi
  awk '/^SHA256:/ { on = 1; next } /^[^ ]/ { on = 0 } on { print $1 "  " $3 }' "$release" >"$work/list"
  check_list "$dist" "$work/list" "indexes of $dist"
  for index in "$dist"/main/binary-*/Packages.gz; do
    [ -f "$index" ] || continue
    gzip -dc "$index" | awk '/^Filename: /{ file = $2 } /^SHA256: /{ hash = $2 } /^$/{ if (file != "") print hash "  " file; file = "" } END { if (file != "") print hash "  " file }' >"$work/list"
    check_list "$root" "$work/list" "packages of $index"
  done
done

# 3. YUM
for repomd in tree/yum/*/*/repodata/repomd.xml; do
  [ -f "$repomd" ] || continue
  root=$(dirname "$(dirname "$repomd")")
  product=$(basename "$(dirname "$root")")
  have gpgv || { fail "$repomd: there is no gpgv"; continue; }
  if openpgp_good "$keys/$product.gpg" "$repomd.asc" "$repomd"; then pass "$repomd is signed"; else fail "$repomd: no good signature"; continue; fi
  awk 'BEGIN { RS = "<" } /^checksum /{ sub(/^[^>]*>/, ""); gsub(/[ \n]/, ""); hash = $0 } /^location /{ sub(/^[^"]*"/, ""); sub(/".*/, ""); gsub(/\n/, ""); print hash "  " $0 }' "$repomd" >"$work/list"
  check_list "$root" "$work/list" "indexes of $root"
  while read -r hex path; do
    case $path in repodata/*primary.xml.gz) ;; *) continue ;; esac
    gzip -dc "$root/$path" | awk 'BEGIN { RS = "<" } /^checksum .*pkgid="YES"/{ sub(/^[^>]*>/, ""); gsub(/[ \n]/, ""); hash = $0 } /^location /{ sub(/^[^"]*"/, ""); sub(/".*/, ""); gsub(/\n/, ""); print hash "  " $0 }' >"$work/packages"
  done <"$work/list"
  [ -f "$work/packages" ] && check_list "$root" "$work/packages" "packages of $root"
  rm -f "$work/packages"
done

# 4. releases
for manifest in tree/releases/*/*/release.json; do
  [ -f "$manifest" ] || continue
  folder=$(dirname "$manifest")
  version=$(basename "$folder")
  product=$(basename "$(dirname "$folder")")
  sums=
  signed=0
  for signature in "$folder"/*.minisig; do
    [ -f "$signature" ] && [ -f "$keys/$product.minisign.pub" ] && have minisign || continue
    sums=$(basename "$signature" .minisig)
    if minisign -Vqm "$folder/$sums" -x "$signature" -p "$keys/$product.minisign.pub" >/dev/null 2>&1; then signed=1; else signed=-9; fi
  done
  for signature in "$folder"/*.sig; do
    sums_of=$(basename "$signature" .sig)
    [ -f "$signature" ] && [ -f "$keys/$product.gpg" ] && have gpgv || continue
    grep -q '  release\.json$' "$folder/$sums_of" 2>/dev/null || continue
    sums=$sums_of
    if openpgp_good "$keys/$product.gpg" "$signature" "$folder/$sums"; then [ "$signed" -ge 0 ] && signed=1; else signed=-9; fi
  done
  if [ "$signed" -eq 1 ]; then pass "$product $version: $sums is signed"; else fail "$product $version: no good signature over its sums (is gpgv or minisign here?)"; continue; fi
  grep -q '  release\.json$' "$folder/$sums" || fail "$product $version: the sums do not list release.json"
  [ "$version" = latest ] || grep -Eq "\"version\": *\"$(echo "$version" | sed 's/[.+]/\\&/g')\"" "$manifest" && grep -Eq "\"product\": *\"$product\"" "$manifest" || fail "$product $version: release.json is of another release"
  check_list "$folder" "$folder/$sums" "files of $product $version"
  # Under latest files have further names; whatever the name, the content is one that the sums list.
  awk -v dir="$folder/" -v sums="$sums" 'NR == FNR { known[$1] = 1; next } index($2, dir) == 1 { name = substr($2, length(dir) + 1); if (!($1 in known) && name != sums && name !~ /\.(minisig|sig|bundle|pem)$/) print name }' "$folder/$sums" SHA256SUMS >"$work/strange"
  [ -s "$work/strange" ] && { fail "$product $version: files that the sums do not list"; cat "$work/strange"; }
done

# 5. images: a blob's name is its digest
awk '$2 ~ /^tree\/images\/.*\/blobs\/sha256\// { n = split($2, part, "/"); if (part[n] != $1) print $2 }' SHA256SUMS >"$work/wrong"
[ -s "$work/wrong" ] && { fail "image blobs under a wrong name"; cat "$work/wrong"; }

if [ "$failures" -eq 0 ]; then
  echo "PASS  everything that is here"
  exit 0
fi
echo "FAIL  $failures checks failed: do not use this bundle"
exit 1
`;
