#!/bin/sh
# Before removal, not before an upgrade: dpkg says "remove", rpm says 0 packages will be left.
set -e
case "${1:-}" in
  remove | 0)
    if [ -d /run/systemd/system ] && command -v systemctl > /dev/null; then
      systemctl disable --now jaco.service
    fi
    ;;
esac
