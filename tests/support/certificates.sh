# shellcheck shell=bash
# Certificates for tests, made anew for each run with the openssl program. Keys are elliptic, which is fast.
#
#   certificates_make DIR   fills the new directory DIR with
#     ca.pem               the authority that signs all below but stranger.pem
#     stranger.pem         another authority, which signs nothing
#     server.pem, .key     for localhost and 127.0.0.1
#     expired.pem          the same, but over when it is made      (server.key is the key of all servers)
#     elsewhere.pem        for elsewhere.example only
#     unnamed.pem          for localhost only by its subject, which does not count
#     client.pem, .key     of the client whose CN is coney-client
#     locked.key           client.key, encrypted with "open sesame"
#     revoked.pem          as server.pem, but revoked by ca.crl
#     middle.pem, .key     an authority below ca
#     below.pem            as server.pem, but signed by middle, which stands after it
#     ca.crl               the list of ca; middle.crl that of middle, which revokes nothing
#     no-middle.crl        another list of ca, which revokes middle
#     namesake.crl         a list in the name of ca that another key has signed
#     over.crl             a list of ca that has been over since a second after it was made

certificates_make() {
    local log
    mkdir -p "$1"
    log=$(cd "$1" && certificates_fill 2>&1) || {
        echo "certificates cannot be made: $log" >&2
        return 1
    }
}

certificates_fill() {
    certificates_authority ca "Coney test CA" &&
        certificates_authority stranger "A stranger's CA" &&
        certificates_key server &&
        certificates_key client &&
        certificates_sign server server localhost 2 "DNS:localhost,IP:127.0.0.1" serverAuth &&
        certificates_sign expired server expired 0 "DNS:localhost,IP:127.0.0.1" serverAuth &&
        certificates_sign elsewhere server elsewhere.example 2 "DNS:elsewhere.example" serverAuth &&
        certificates_sign unnamed server localhost 2 "email:broker@localhost" serverAuth &&
        certificates_sign client client coney-client 2 "DNS:coney-client" clientAuth &&
        openssl pkcs8 -topk8 -in client.key -out locked.key -passout "pass:open sesame" &&
        certificates_sign revoked server revoked 2 "DNS:localhost,IP:127.0.0.1" serverAuth &&
        certificates_middle &&
        certificates_list ca.crl ca 172800 revoked &&
        certificates_list over.crl ca 1 &&
        certificates_list no-middle.crl ca 172800 middle &&
        certificates_list middle.crl middle 172800 &&
        certificates_authority namesake "Coney test CA" &&
        certificates_list namesake.crl namesake 172800
}

certificates_key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"
}

certificates_authority() {
    certificates_key "$1" &&
        openssl req -x509 -new -key "$1.key" -subj "/O=Coney/CN=$2" -days 2 -out "$1.pem" \
            -addext "keyUsage=critical,keyCertSign,cRLSign"
}

certificates_middle() {
    certificates_key middle &&
        openssl req -new -key middle.key -subj "/O=Coney/CN=Coney test CA below" -out middle.csr &&
        printf 'keyUsage=critical,keyCertSign,cRLSign\nbasicConstraints=critical,CA:true\n' >middle.ext &&
        openssl x509 -req -in middle.csr -CA ca.pem -CAkey ca.key -set_serial "$RANDOM$RANDOM" -days 2 \
            -extfile middle.ext -out middle.pem &&
        certificates_sign below server below 2 "DNS:localhost,IP:127.0.0.1" serverAuth middle &&
        cat middle.pem >>below.pem &&
        rm middle.csr middle.ext
}

# certificates_list FILE AUTHORITY SECONDS [REVOKED]
certificates_list() {
    : >index &&
        { [[ -z ${4:-} ]] || certificates_index "$4" >index; } &&
        printf '[ca]\ndefault_ca=own\n[own]\ndatabase=index\ndefault_md=sha256\n' >list.conf &&
        openssl ca -config list.conf -gencrl -cert "$2.pem" -keyfile "$2.key" -crlsec "$3" -out "$1" &&
        rm -f index* list.conf
}

# The line of openssl's database for a revoked certificate.
certificates_index() {
    local serial
    serial=$(openssl x509 -in "$1.pem" -noout -serial) &&
        printf 'R\t491231235959Z\t%s\t%s\tunknown\t/CN=%s\n' "$(date -u +%y%m%d%H%M%SZ)" "${serial#serial=}" "$1"
}

# certificates_sign NAME KEY CN DAYS NAMES USAGE [AUTHORITY]
certificates_sign() {
    printf 'subjectAltName=%s\nextendedKeyUsage=%s\nbasicConstraints=critical,CA:false\n' "$5" "$6" >"$1.ext" &&
        openssl req -new -key "$2.key" -subj "/O=Coney/CN=$3" -out "$1.csr" &&
        openssl x509 -req -in "$1.csr" -CA "${7:-ca}.pem" -CAkey "${7:-ca}.key" -set_serial "$RANDOM$RANDOM" -days "$4" \
            -extfile "$1.ext" -out "$1.pem" &&
        rm "$1.csr" "$1.ext"
}
