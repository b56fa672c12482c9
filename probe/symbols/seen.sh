#!/bin/sh
# Keep what the compiler sees of a header, or find out whether it still sees the same.
# Usage: seen.sh FILE COMMAND...                    FILE gets what COMMAND prints
#        seen.sh --again FILE STAMP COMMAND...      fails where it prints something else now
#        seen.sh --complaint COMMAND...             prints why COMMAND fails, as ASCII
# COMMAND is a preprocessor; where it fails, what counts is its complaint.
set -eu

see() { # FILE COMMAND...
  file=$1
  shift
  LC_ALL=C "$@" >"$file" 2>"$file.err" || cp "$file.err" "$file"
  rm "$file.err"
}

if [ "$1" = --complaint ]; then
  shift
  # A compiler quotes what is in the header; JSON takes no control characters.
  complaint=$(LC_ALL=C "$@" 2>&1 >/dev/null) || printf '%s' "$complaint" | LC_ALL=C tr -c '\11\12\40-\176' '?'
  exit
fi
if [ "$1" != --again ]; then
  see "$@"
  exit
fi
seen=$2
stamp=$3
shift 3
see "$stamp" "$@"
cmp -s "$seen" "$stamp" && exit
rm -f "$stamp" # or the next build would take it for made
printf '%s: a header changed since it was probed: what config.h and the report say of it may be wrong.\nRun: meson setup --reconfigure on this build folder.\n' "${seen##*/}" >&2
exit 1
