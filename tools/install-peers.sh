#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Install the Debian packages that tests use, without starting their services. Not root: name what is missing and go on.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
list=$(dirname "$0")/debian-packages.txt
policy=/usr/sbin/policy-rc.d

missing=()
while read -r package command; do
    command -v "$command" >/dev/null || missing+=("$package")
done < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$list")
if [ ${#missing[@]} = 0 ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests that need these Debian packages will be skipped: ${missing[*]}" >&2
    exit 0
fi

saved=
if [ -e "$policy" ] || [ -L "$policy" ]; then
    saved=$(mktemp -u "$policy.XXXXXX")
    mv "$policy" "$saved"
fi
# What stood there comes back however this ends.
restore() {
    rm -f "$policy"
    [ -z "$saved" ] || mv "$saved" "$policy"
}
trap restore EXIT
trap 'exit 1' INT TERM HUP
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

echo "installing Debian packages: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
options=(-qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)
# The package lists may be missing or old: fetch them, and try with those at hand when that fails.
apt-get update -qq </dev/null >&2 || true
for attempt in 1 2 3; do
    if apt-get install "${options[@]}" "${missing[@]}" </dev/null >&2; then
        exit 0
    fi
    echo "apt-get failed (attempt $attempt)" >&2
    sleep 5
done
echo "could not install: ${missing[*]}" >&2
exit 1
