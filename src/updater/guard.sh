#!/bin/sh
# Slipway's guard for hosts without Node: called with the updater's folder ({state_dir}/updates) before the product starts.
#   guard.sh /var/lib/acme/updates        exit 0: start;  75: do not start, `slipway upgrade resume` must come first
# It reads guard/trial.env, which slipway derives from its journal, counts the start durably, and, when the tries of a new version are used
# up, leads the link back to the old one and leaves a flag. Slipway reads both later: health, state and verdict are its work, not ours.
# Nothing that is read here is ever executed.
set -eu
updates=$1
env=$updates/guard/trial.env
[ -f "$env" ] || exit 0

transaction='' strategy='' step='' tries='' root='' old='' new=''
while IFS='=' read -r key value; do
  case $key in
    TRANSACTION) transaction=$value ;;
    STRATEGY) strategy=$value ;;
    STEP) step=$value ;;
    TRIES_LEFT) tries=$value ;;
    ROOT) root=$value ;;
    OLD) old=$value ;;
    NEW) new=$value ;;
  esac
done <"$env"

# The journal decides: a file that was left over from another transaction, or from one that is over, means nothing.
grep -q "\"id\": \"$transaction\"" "$updates/transaction.json" || exit 0
grep -q '"phase": "applying"' "$updates/transaction.json" || exit 0

# An updater that lives counts the starts itself. Its record holds process id and start time (ids are used again).
for lock in "$updates"/lock.*; do
  [ -f "$lock" ] || continue
  pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$lock")
  started=$(sed -n 's/.*"processStart":"\([0-9]*\)".*/\1/p' "$lock")
  boot=$(sed -n 's/.*"bootId":"\([^"]*\)".*/\1/p' "$lock")
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id)" ] || continue
  # Field 22 of proc(5) stat; the name in parentheses may hold spaces.
  now=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null | cut -d' ' -f20) || continue
  [ -n "$now" ] && [ "$now" = "$started" ] && exit 0
done

case $tries in '' | *[!0-9]*) echo "guard: $env is damaged" >&2; exit 75 ;; esac
case $old in *..* | */*/*) echo "guard: $env names no version folder" >&2; exit 75 ;; esac

# What is written must be on the disk before the product starts. sync FILE is coreutils 8.24 and busybox 1.31; without it, everything.
durable() { sync "$1" 2>/dev/null || sync; }

write() { # step tries
  {
    echo "SCHEMA=1"
    echo "TRANSACTION=$transaction"
    echo "STRATEGY=$strategy"
    echo "STEP=$1"
    echo "TRIES_LEFT=$2"
    echo "ROOT=$root"
    echo "OLD=$old"
    echo "NEW=$new"
    echo "BOOT=$(cat /proc/sys/kernel/random/boot_id)"
  } >"$env.tmp"
  durable "$env.tmp"
  mv -f "$env.tmp" "$env"
  durable "$updates/guard"
}

go_back() {
  if [ "$strategy" != versions ] || [ -z "$old" ] || [ ! -d "$root/$old" ]; then
    echo "guard: only slipway can put the old version back: run slipway upgrade resume" >&2
    exit 75
  fi
  ln -sfn "$old" "$root/.current-$transaction"
  mv -fT "$root/.current-$transaction" "$root/current"
  durable "$root"
  echo "$transaction" >"$updates/guard/rolled-back"
  durable "$updates/guard/rolled-back"
  echo "guard: the tries of $new are used up; $root/current leads to $old again" >&2
}

# Switched, and the updater died before it could write that down: this is a trial.
[ "$step" = switch ] && [ "$strategy" = versions ] && [ "$(readlink "$root/current")" = "$new" ] && step=trial
case $step in
  trial)
    if [ "$tries" -gt 0 ]; then
      write trial $((tries - 1))
    else
      go_back
    fi
    ;;
  rollback) go_back ;;
esac
exit 0
