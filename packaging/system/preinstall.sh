#!/bin/sh
# Before the files: the user that the service runs as, so that they can be its group's.
set -e

getent group keeper >/dev/null || groupadd --system keeper
getent passwd keeper >/dev/null ||
	useradd --system --gid keeper --no-create-home --home-dir /var/lib/keeper --shell /usr/sbin/nologin keeper
