#!/bin/sh
# An authority of Plimsoll's own and the collector's certificate, with openssl, where there is no cert-manager.
#
#   tls/bootstrap.sh FOLDER
#
# writes ca.crt, ca.key, tls.crt and tls.key into FOLDER and prints the commands that bring them into the cluster;
# it speaks to no cluster itself. With ca.crt and ca.key there it makes a new tls.crt and tls.key alone: a renewal,
# which the collector takes up by itself. What fails leaves the files that were there. Keep ca.key out of the cluster.
set -eu

folder=${1:?usage: bootstrap.sh FOLDER}
name=plimsoll-collector.plimsoll.svc
manifests=$(cd "$(dirname "$0")/.." && pwd)
umask 077
mkdir -p "$folder"
cd "$folder"
folder=$(pwd)

if [ -e ca.crt ] && [ ! -e ca.key ]; then
    echo "$folder/ca.crt is there without ca.key: nothing can be signed. Put the key back, or take another folder." >&2
    exit 1
fi
if [ ! -e ca.key ]; then
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out ca.key.new
    mv ca.key.new ca.key
fi
# Also when a run was cut short before: the same key, so that what it signed stays good.
if [ ! -e ca.crt ]; then
    openssl req -x509 -new -key ca.key -out ca.crt.new -days 3650 -subj /CN=plimsoll-ca \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign
    mv ca.crt.new ca.crt
fi
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key.new -out tls.csr -subj "/CN=$name"
cat >tls.ext <<EOF
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$name,DNS:$name.cluster.local,DNS:plimsoll-collector.plimsoll,DNS:localhost,IP:127.0.0.1
EOF
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile tls.ext -out tls.crt.new
openssl verify -CAfile ca.crt -verify_hostname "$name" tls.crt.new >/dev/null
mv tls.key.new tls.key
mv tls.crt.new tls.crt
rm -f tls.csr tls.ext

# A path as a shell reads it.
quoted() {
    printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}
cat <<EOF
Into the cluster:

  kubectl apply -f $(quoted "$manifests/base/agent/namespace.yaml") \\
      -f $(quoted "$manifests/base/collector/namespace.yaml")
  kubectl -n plimsoll create secret tls plimsoll-collector-tls --cert=$(quoted "$folder/tls.crt") \\
      --key=$(quoted "$folder/tls.key") --dry-run=client -o yaml | kubectl apply -f -
  for namespace in plimsoll plimsoll-agent; do
      kubectl -n \$namespace create configmap plimsoll-ca --from-file=ca.crt=$(quoted "$folder/ca.crt") \\
          --dry-run=client -o yaml | kubectl apply -f -
  done
EOF
