"""The keys that are pinned."""

from __future__ import annotations

from lastgood.attest import keys


def test_the_pinned_keys_are_those_of_sigstores_public_instance() -> None:
    root = keys._pinned()._inner
    assert {one.base_url for one in root.tlogs} >= {"https://rekor.sigstore.dev"}
    assert {one.uri for one in root.certificate_authorities} == {"https://fulcio.sigstore.dev"}
