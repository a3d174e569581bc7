"""By which keys signatures are verified, and the verification itself, which is sigstore-python's.

Public repositories sign by Sigstore's public instance: a certificate, its entry in the log of certificates, the signature's entry in the
log of signatures. Its keys are pinned: those of the locked sigstore-python. Where they verify nothing, newer ones are asked for once, by
TUF, from the root that is pinned beside them. Private ones sign by GitHub's own instance, which has no log: a timestamp says when. Its
keys are in no package; who needs them writes them into the project, and then no others count:
`gh attestation trusted-root > docker/trusted-root.jsonl`.

It costs a third of a second to import, so nobody does before a signature is to be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lastgood.attest.signer import Claims
from lastgood.attest.statement import PAYLOAD
from lastgood.errors import UsageError
from lastgood.report.terminal import say

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

FILE = "docker/trusted-root.jsonl"
_ARC = "1.3.6.1.4.1.57264.1"
Judge = Callable[[Claims], str]  # why a signature does not count; empty where it does
Verify = Callable[[bytes, Judge], bytes]


class Unverified(Exception):
    """A bundle is not what it should be, or not by whom; the text says why."""


def verifiers(project: Path) -> Iterator[dict[bool, Verify]]:
    """By whether a bundle is in the log: who verifies it. The next only where the one before was not enough.

    Raises UsageError where the project's own file can't be read.
    """
    own = project / FILE
    if own.is_file():
        yield _of(_read(own))
        return
    yield _of([_pinned()])
    newer = _newer()
    if newer is not None:
        yield _of([newer])


def logged(bundle: bytes) -> bool:
    """Whether a bundle says that its signature is in a log. Raises Unverified where it is no bundle at all."""
    try:
        return bool(json.loads(bundle)["verificationMaterial"].get("tlogEntries"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unverified("it is no bundle of Sigstore's") from None


def _read(file: Path) -> list[Any]:
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Plain

    try:
        lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        return [TrustedRoot(Plain.from_json(line)) for line in lines]
    except Exception as error:
        raise UsageError(
            f"{file} can't be read ({type(error).__name__}): write it anew with `gh attestation trusted-root > {FILE}`"
        ) from None


def _pinned() -> Any:
    from sigstore._internal.tuf import DEFAULT_TUF_URL
    from sigstore._utils import read_embedded
    from sigstore.models import TrustedRoot
    from sigstore_models.trustroot.v1 import TrustedRoot as Plain

    return TrustedRoot(Plain.from_json(read_embedded("trusted_root.json", DEFAULT_TUF_URL)))


def _newer() -> Any:
    """Sigstore's keys as they are today; None where they can't be had."""
    from sigstore.models import ClientTrustConfig

    say("· the keys of this version verify nothing of it: ask Sigstore for newer ones")
    try:
        return ClientTrustConfig.production().trusted_root
    except Exception as error:  # no network, or nothing that the pinned root vouches for
        say(f"· there are none to be had ({type(error).__name__})")
        return None


def _of(roots: list[Any]) -> dict[bool, Verify]:
    made: dict[bool, list[Verify]] = {True: [], False: []}
    for root in roots:
        in_log = bool(root._inner.tlogs)
        made[in_log].append(_by_log(root) if in_log else _by_timestamp(root))
    return {in_log: _any(verify) for in_log, verify in made.items() if verify}


def _any(several: list[Verify]) -> Verify:
    def verify(bundle: bytes, judge: Judge) -> bytes:
        said = Unverified("")
        for one in several:
            try:
                return one(bundle, judge)
            except Unverified as error:
                said = error
        raise said

    return verify


class _Policy:
    """What sigstore-python asks of a certificate that its keys vouch for."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def verify(self, cert: Certificate) -> None:
        """Raises VerificationError where the signature does not count."""
        from sigstore.errors import VerificationError

        wrong = self._judge(claims(cert))
        if wrong:
            raise VerificationError(wrong)


def claims(cert: Certificate) -> Claims:
    """What a certificate says of the job that asked for it. Raises VerificationError where it is not one job's."""
    from cryptography import x509
    from cryptography.hazmat import asn1
    from sigstore.errors import VerificationError

    found = {}
    try:
        for one in cert.extensions:
            arc, _, number = one.oid.dotted_string.rpartition(".")
            if arc == _ARC and int(number) >= 8:  # the older ones are no DER
                found[int(number)] = asn1.decode_der(str, one.value.value)
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (identity,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        raise VerificationError("its certificate names no job") from None
    return Claims.of(identity, found)


def _by_log(root: Any) -> Verify:
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify.verifier import Verifier

    verifier = Verifier(trusted_root=root)

    def verify(bundle: bytes, judge: Judge) -> bytes:
        try:
            kind, payload = verifier.verify_dsse(Bundle.from_json(bundle), _Policy(judge))
        except (Error, ValueError) as error:
            raise Unverified(str(error)) from None
        return _payload(kind, payload)

    return verify


def _by_timestamp(root: Any) -> Verify:
    """For GitHub's own instance: what sigstore-python asks but for the logs, with its own functions for time and chain."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509 import ExtendedKeyUsage, ExtensionNotFound, load_der_x509_certificate
    from cryptography.x509.oid import ExtendedKeyUsageOID
    from rfc3161_client import decode_timestamp_response
    from sigstore.dsse import Envelope
    from sigstore.errors import Error, VerificationError
    from sigstore.verify.verifier import MAX_ALLOWED_TIMESTAMP, Verifier
    from sigstore_models.bundle.v1 import Bundle

    class WithoutLog(Verifier):
        def __init__(self) -> None:  # its own wants a log
            self._fulcio_certificate_chain = root.get_fulcio_certs()
            self._trusted_root = root

        def payload(self, raw: bytes, judge: Judge) -> bytes:
            bundle = Bundle.from_json(raw)
            material, inner = bundle.verification_material, bundle.dsse_envelope
            if inner is None or material.certificate is None or material.timestamp_verification_data is None:
                raise VerificationError("it lacks an envelope, a certificate or a timestamp")
            envelope = Envelope(inner)
            stamps = (material.timestamp_verification_data.rfc3161_timestamps or [])[:MAX_ALLOWED_TIMESTAMP]
            answers = [decode_timestamp_response(one.signed_timestamp) for one in stamps]
            times = [self._verify_signed_timestamp(one, envelope.signature) for one in answers]
            known = [one for one in times if one is not None]
            if not known:
                raise VerificationError("no timestamp that is trusted says when it was signed")
            cert = load_der_x509_certificate(material.certificate.raw_bytes)
            for one in known:
                self._verify_chain_at_time(cert, one)
            if ExtendedKeyUsageOID.CODE_SIGNING not in cert.extensions.get_extension_for_class(ExtendedKeyUsage).value:
                raise VerificationError("its certificate is not for signing")
            _Policy(judge).verify(cert)
            key = cert.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise VerificationError("its key is of no kind that Sigstore makes")
            key.verify(envelope.signature, envelope.pae(), ec.ECDSA(SHA256()))
            return _payload(inner.payload_type, inner.payload)

    verifier = WithoutLog()

    def verify(bundle: bytes, judge: Judge) -> bytes:
        try:
            return verifier.payload(bundle, judge)
        except InvalidSignature:
            raise Unverified("its signature is not of what it says") from None
        except (Error, ValueError, ExtensionNotFound) as error:
            raise Unverified(str(error)) from None

    return verify


def _payload(kind: str, payload: bytes) -> bytes:
    if kind != PAYLOAD:
        raise Unverified(f"what was signed is {kind}, no statement")
    return payload
