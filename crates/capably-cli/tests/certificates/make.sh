#!/bin/sh
# Makes the certificates for the tests of TLS, which all have the same key. They are of no use for anything else.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cat > "$work/ca.conf" <<CONF
[ca]
default_ca = tests
[tests]
database = $work/index
new_certs_dir = $work
serial = $work/serial
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
CONF
touch "$work/index"
echo 01 > "$work/serial"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem
certificate() { # file, name, extension, first time, last time, how it is signed
    openssl req -new -key key.pem -config "$work/ca.conf" -subj "/CN=$2" -addext "$3" -out "$work/request"
    openssl ca -batch -notext -config "$work/ca.conf" -in "$work/request" -out "$1" \
        -startdate "$4" -enddate "$5" -keyfile key.pem $6
}
root="basicConstraints=critical,CA:TRUE"
certificate root.pem "capably tests" "$root" 20200101000000Z 99991231235959Z -selfsign
server() { # file, name, first time, last time
    certificate "$1" "$2" "subjectAltName=DNS:$2" "$3" "$4" "-cert root.pem"
}
server good.pem service.example.test 20200101000000Z 99991231235959Z
server other-name.pem other.example.test 20200101000000Z 99991231235959Z
server expired.pem service.example.test 20200101000000Z 20200201000000Z
server early.pem service.example.test 99980101000000Z 99991231235959Z
