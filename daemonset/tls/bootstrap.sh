#!/bin/sh
# An authority of Plimsoll's own and the collector's certificate, with openssl, where there is no cert-manager.
#
#   tls/bootstrap.sh FOLDER
#
# writes ca.crt, ca.key, tls.crt and tls.key into FOLDER and prints the commands that bring them into the cluster;
# it speaks to no cluster itself. With ca.crt and ca.key there it makes a new tls.crt and tls.key alone: a renewal,
# which the collector takes up by itself. Keep ca.key out of the cluster.
set -eu

folder=${1:?usage: bootstrap.sh FOLDER}
name=plimsoll-collector.plimsoll.svc
umask 077
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt \
        -days 3650 -subj /CN=plimsoll-ca \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign
fi
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key -out tls.csr -subj "/CN=$name"
cat >tls.ext <<EOF
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$name,DNS:$name.cluster.local,DNS:plimsoll-collector.plimsoll,DNS:localhost,IP:127.0.0.1
EOF
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -extfile tls.ext -out tls.crt
rm -f tls.csr tls.ext
openssl verify -CAfile ca.crt -verify_hostname "$name" tls.crt >/dev/null

cat <<EOF
Into the cluster, with the namespaces there (kubectl apply -f base/agent/namespace.yaml -f base/collector/namespace.yaml):

  kubectl -n plimsoll create secret tls plimsoll-collector-tls --cert=$folder/tls.crt --key=$folder/tls.key \\
      --dry-run=client -o yaml | kubectl apply -f -
  for namespace in plimsoll plimsoll-agent; do
      kubectl -n \$namespace create configmap plimsoll-ca --from-file=ca.crt=$folder/ca.crt \\
          --dry-run=client -o yaml | kubectl apply -f -
  done
EOF
