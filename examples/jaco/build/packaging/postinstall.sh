#!/bin/sh
# After installation and upgrade: systemd learns of the unit, where systemd runs (a container or a chroot has none).
set -e
if [ -d /run/systemd/system ] && command -v systemctl > /dev/null; then
  systemctl daemon-reload
fi
