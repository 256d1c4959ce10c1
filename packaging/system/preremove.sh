#!/bin/sh
# Before the files go: the service, unless another version takes their place.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now keeper.service
