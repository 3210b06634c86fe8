"""Who signs the provenance marks of this installation: one key and its certificates, made once or brought along.

Promises that the key is made once however many workers begin together, that its file is the owner's alone to read
(mode 600), that it stands in no log and no error, and that a certificate somebody brought is checked before the first
job needs it. Without a place to keep one (a test, an engine run by itself) the key lives as long as the process.

What is made: a root that signs nothing further (its key is thrown away) and a certificate under it, as C2PA wants them
for signing. Nobody trusts that root unless told to: it shows that a file is unchanged, and where it is from.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from springtide.domain.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

SIGNER_FILE = "signer.pem"  # key and certificates in one file, so that one cannot be there without the other
PUBLIC_FILE = "certificates.pem"
VALID_DAYS = 3650  # ten years: a mark is read long after it was made
_ORGANIZATION = "Springtide installation"


class SigningPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the key is kept, or whose key is used."""

    folder: str  # for the one that is made
    certificate: str | None = None  # file with the signer's certificate and those above it, PEM
    private_key: str | None = None  # file with its key, PEM, unencrypted


class Identity(msgspec.Struct, frozen=True):
    """What signs."""

    certificates: bytes  # PEM, the signer's first
    private_key: bytes  # PEM
    algorithm: str  # as C2PA names it: es256, es384, es512, ps256 or ed25519

    def __repr__(self) -> str:  # the default would show the key
        return f"Identity({self.algorithm})"


_place: SigningPlace | None = None
_identity: Identity | None = None


def use(place: SigningPlace | None) -> None:
    """From now on this process signs with what is kept there. Raises ConfigError for a certificate or key of the
    settings that cannot be used."""
    global _place, _identity  # one per process, as the process has one owner
    _place, _identity = place, None
    if place is not None and place.certificate is not None:
        _identity = _given(place)


def identity() -> Identity:
    """Who signs; made where there is none yet. Raises ConfigError where it can be neither read nor made."""
    global _identity
    if _identity is None:
        _identity = _made() if _place is None else _kept(Path(_place.folder))
    return _identity


def _given(place: SigningPlace) -> Identity:
    if place.certificate is None or place.private_key is None:
        raise ConfigError("provenance: certificate and private_key belong together: set both or neither")
    texts: list[bytes] = []
    for key, path in (("certificate", place.certificate), ("private_key", place.private_key)):
        try:
            texts.append(Path(path).read_bytes())
        except OSError as error:
            raise ConfigError(f"provenance.{key}: {path} cannot be read: {error.strerror}") from error
    return _checked(texts[0], texts[1], of=f"provenance.private_key ({place.private_key})")


def _kept(folder: Path) -> Identity:
    path = folder / SIGNER_FILE
    try:
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _store(_made(), path)
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"the signer of provenance marks cannot be kept in {folder}: {error.strerror}") from error
    _, begin, rest = text.partition(b"-----BEGIN CERTIFICATE")
    return _checked(begin + rest, text[: len(text) - len(begin + rest)], of=str(path))


def _store(made: Identity, path: Path) -> None:
    """Into place in one step; whoever comes second keeps what is there."""
    handle, name = tempfile.mkstemp(dir=path.parent)  # mode 600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(made.private_key + made.certificates)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
            (path.parent / PUBLIC_FILE).write_bytes(made.certificates)
    finally:
        Path(name).unlink()


def _checked(certificates: bytes, private_key: bytes, *, of: str) -> Identity:
    """The library's own messages may quote what they could not read, so none of them goes further."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        first = x509.load_pem_x509_certificates(certificates)[0]
    except (ValueError, IndexError):
        raise ConfigError(f"{of}: beside it there is no certificate in PEM form") from None
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{of} is no unencrypted private key in PEM form") from None
    form, encoding = serialization.PublicFormat.SubjectPublicKeyInfo, serialization.Encoding.DER
    if key.public_key().public_bytes(encoding, form) != first.public_key().public_bytes(encoding, form):
        raise ConfigError(f"{of} is not the key of the first certificate")
    if first.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise ConfigError(f"{of}: the certificate ended on {first.not_valid_after_utc:%Y-%m-%d}")
    return Identity(certificates, private_key, _algorithm(key, of=of))


def _algorithm(key: Any, *, of: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        found = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(key.curve.name)
        if found is not None:
            return found
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ConfigError(f"{of}: C2PA signs with EC keys (P-256, P-384, P-521), Ed25519 or RSA, and with no other")


def _made() -> Identity:
    """A new key with a certificate of its own root."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("root", root_key, signed_by=root_key)
    signer = _certificate("signer", key, signed_by=root_key)
    pem = serialization.Encoding.PEM
    return Identity(
        certificates=signer.public_bytes(pem) + root.public_bytes(pem),
        private_key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        algorithm="es256",
    )


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, *, signed_by: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """With the extensions that C2PA asks of a root and of a signer (C2PA 2.1, section 14.5.1)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    is_root = key is signed_by
    now = datetime.datetime.now(datetime.UTC)
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named("root"))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks that are a little behind
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(_usage(is_root=is_root), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signed_by, hashes.SHA256())


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANIZATION),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{_ORGANIZATION} {name}"),
        ]
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
