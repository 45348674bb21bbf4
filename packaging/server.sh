# shellcheck shell=bash
# Sourced by the checks that run a server: it is the one child of the process $wrapper, prints to $room/server.log,
# and ends with the check.
room=$(mktemp -d)
wrapper=
child() { read -r pid _ <<<"$(cat "/proc/$wrapper/task/$wrapper/children")" && echo "$pid"; }
cleanup() {
    [ -z "$wrapper" ] || kill -KILL "$(child)" || true
    wait
    rm -rf "$room"
} 2>/dev/null
trap cleanup EXIT
trap 'exit 1' INT TERM

fail() {
    tail -n 20 "$room"/*.log >&2
    echo "$0: $1" >&2
    exit 1
}

eventually() { # WHAT COMMAND ...
    for _ in {1..300}; do
        ! "${@:2}" || return 0
        sleep 0.1
    done
    fail "it never came: $1"
}

# Waits for a text in a log.
await() { # LOG TEXT
    eventually "$2" grep -qs "$2" "$room/$1"
}

# Does as the lines say that a first start leaves in its store, each run by a command if one is given.
hand_off() { # STORE [COMMAND ...]
    grep '^curl ' "$1/first-token" >"$room/lines"
    shift
    head -c 3000000 /dev/urandom | tee "$room/sent" >"$room/archive.tar.gz"
    while read -r line; do
        (cd "$room" && timeout 60 "$@" env -i PATH="$PATH" sh -c "$line" </dev/null) >>"$room/curl.log" 2>&1 ||
            fail "this line failed: $line"
        # What the last line receives must not be what the one before it sent.
        case $line in *--upload-file*) rm "$room/archive.tar.gz" ;; esac
    done <"$room/lines"
    cmp "$room/sent" "$room/archive.tar.gz" || fail "the bytes are not the same"
}

# Tells the server to stop, which it does without a fault.
stop() {
    kill -TERM "$(child)"
    wait "$wrapper" || fail "after SIGTERM it ended with $?"
    wrapper=
}
