"""Checks of a masked round: whatever a client said, against what it signed and committed to before."""

from __future__ import annotations

from collections.abc import Sequence

from fl.privacy.graph import Pair, by_number
from fl.privacy.masked_round import draw
from fl.privacy.seeds import (
    BadSeed,
    check_public,
    commitment,
    pair_key,
    public_key,
)
from fl.privacy.steps import (
    AGREE,
    COMMIT,
    SHARE,
    TELL,
    Commitment,
    Sharing,
    Telling,
    agreement,
    check_signed,
)
from fl.privacy.transcript import Setting, Transcript


def check_commitment(said: Commitment, setting: Setting) -> None:
    """Raises: BadSeed for one that is not signed, or not for this round's neighbours."""
    if said.account not in setting.stakes:
        raise BadSeed(account=said.account, problem="it has no weight in this round; join with a stake first")
    if set(said.keys) != set(setting.graph[said.account]):
        raise BadSeed(account=said.account, problem="its keys are not for the neighbours that the enrolment gives it")
    if setting.terms.noise == "client" and said.length:
        raise BadSeed(
            account=said.account, problem="it states a length, which is none of anybody's business under noise"
        )
    check_signed(
        said.content(), said.signature, account=said.account, step=COMMIT, of=setting.of, domain=setting.domain
    )
    for keys in said.keys.values():
        for key in keys:
            check_public(key, owner=said.account)


def check_sharing(said: Sharing, transcript: Transcript, setting: Setting) -> None:
    """Check a client's shares.

    Args:
        said: By one client.
        transcript: So far.
        setting: Of the round.
    Raises: BadSeed for one that is not signed, or not for those who committed.
    """
    if said.account not in transcript.commitments:
        raise BadSeed(account=said.account, problem="it shares seeds that it did not commit to")
    if set(said.shares) != set(transcript.holders(said.account, setting)):
        raise BadSeed(account=said.account, problem="its shares are not for its neighbours who committed, and itself")
    check_signed(said.content(), said.signature, account=said.account, step=SHARE, of=setting.of, domain=setting.domain)


def check_agreement(signature: bytes, *, account: str, survivors: Sequence[str], setting: Setting) -> None:
    """Check a signature under who is in.

    Args:
        signature: 65 bytes.
        account: Who signed.
        survivors: Accounts whose words are in.
        setting: Of the round.
    Raises: BadSeed unless the account signed that these words are in.
    """
    content = agreement(survivors)
    check_signed(content, signature, account=account, step=AGREE, of=setting.of, domain=setting.domain)


def check_own(secret: bytes, *, account: str, transcript: Transcript) -> None:
    """Check a secret that shares came to, against its commitment.

    Args:
        secret: 16 bytes.
        account: Whose it is.
        transcript: Of the round.
    Raises: BadSeed for another secret than the one that the account committed to.
    """
    if commitment(secret) != transcript.sharings[account].own:
        raise BadSeed(account=account, problem="the seed of its own mask is not the one that it committed to")


def check_pairs(secret: bytes, *, account: str, transcript: Transcript, setting: Setting) -> None:
    """Check a secret that shares came to, against the public keys of its pairs.

    Args:
        secret: 16 bytes.
        account: Whose it is.
        transcript: Of the round.
        setting: Of the round.
    Raises: BadSeed for another secret than the one that the account's public keys are of.
    """
    if commitment(secret) != transcript.sharings[account].pairs:
        raise BadSeed(account=account, problem="the secret of its pairs is not the one that it committed to")
    for other, (public, _) in transcript.commitments[account].keys.items():
        if public_key(pair_key(secret, of=setting.of, owner=account, other=other)) != public:
            raise BadSeed(account=account, problem=f"its public key for {other} is not of the secret that it shared")


def check_opened(pair: Pair, owner: str, private: bytes, *, transcript: Transcript) -> None:
    """Check the private key of a pair that was opened.

    Args:
        pair: Two accounts.
        owner: Of the key.
        private: The key, 32 bytes.
        transcript: Of the round.
    Raises: BadSeed for a key that is not the private one of the key that its owner signed.
    """
    other = next((end for end in pair if end != owner), "")
    told = transcript.commitments[owner].keys.get(other) if owner in pair else None
    if told is None or public_key(private) != told[0]:
        raise BadSeed(
            account=owner, problem=f"the key that it opened its pair with {other} by is not the one that it signed"
        )


def check_telling(
    said: Telling, *, question: bytes, transcript: Transcript, setting: Setting, survivors: Sequence[str]
) -> None:
    """Check what a client tells of its masks.

    Args:
        said: By one client.
        question: Its hash.
        transcript: Of the round.
        setting: Of the round.
        survivors: Accounts whose words are in.
    Raises: BadSeed for one that is not signed, or not of its own closed pairs.
    """
    expected = [partner for partner in transcript.partners(said.account, setting) if partner in set(survivors)]
    if said.account not in set(survivors) or by_number(said.values) != expected:
        raise BadSeed(account=said.account, problem="what it tells is not of its pairs whose words are in")
    if any(value.shape != (1 + setting.terms.projections,) for value in said.values.values()):
        raise BadSeed(
            account=said.account, problem="what it tells of a pair has another number of words than was asked for"
        )
    content = said.content(question)
    check_signed(content, said.signature, account=said.account, step=TELL, of=setting.of, domain=setting.domain)


def check_transcript(transcript: Transcript, *, survivors: Sequence[str], question: bytes, setting: Setting) -> None:
    """Check everything of a transcript that somebody signed or committed to.

    Args:
        transcript: Of the round.
        survivors: Accounts whose words are in.
        question: Its hash.
        setting: Of the round.
    Raises: BadSeed with the first thing that is not what it should be; ConfigError for too few holders.
    """
    for said in transcript.commitments.values():
        check_commitment(said, setting)
    for sharing in transcript.sharings.values():
        check_sharing(sharing, transcript, setting)
    _check_agreements(transcript, survivors=survivors, setting=setting)
    _check_seeds(transcript, survivors=survivors, setting=setting)
    for telling in transcript.tellings.values():
        check_telling(telling, question=question, transcript=transcript, setting=setting, survivors=survivors)
    drawn = set(draw(transcript, survivors=survivors, question=question, setting=setting).pairs)
    for pair, (owner, private) in transcript.opened.items():
        if pair not in drawn:
            raise BadSeed(account=owner, problem=f"its pair {' and '.join(pair)} is open, and was not drawn")
        check_opened(pair, owner, private, transcript=transcript)


def _check_agreements(transcript: Transcript, *, survivors: Sequence[str], setting: Setting) -> None:
    """That enough holders of each client's seeds agreed whose words are in."""
    for account, signature in transcript.agreements.items():
        check_agreement(signature, account=account, survivors=survivors, setting=setting)
    for account in survivors:
        if account not in transcript.sharings:
            raise BadSeed(account=account, problem="its words are in, and it shared no seeds")
        holders = transcript.holders(account, setting)
        agreed = sum(holder in transcript.agreements for holder in holders)
        if agreed < (needed := setting.terms.threshold_of(len(holders))):
            raise BadSeed(
                account=account, problem=f"{agreed} of its holders agreed whose words are in, {needed} are needed"
            )


def _check_seeds(transcript: Transcript, *, survivors: Sequence[str], setting: Setting) -> None:
    """That one seed of each client is open, the right one, and the one that it committed to."""
    inside = set(survivors)
    for account in survivors:
        if account not in transcript.own:
            raise BadSeed(account=account, problem="its words are in, and the seed of its own mask is not here")
        if account in transcript.pairs:
            raise BadSeed(account=account, problem="both its seeds are open, which nobody may ask for")
    for account, secret in transcript.own.items():
        if account not in inside:
            raise BadSeed(account=account, problem="the seed of its own mask is open, and its words are not in")
        check_own(secret, account=account, transcript=transcript)
    for account, secret in transcript.pairs.items():
        if account not in transcript.sharings:
            raise BadSeed(account=account, problem="the secret of its pairs is open, and it shared none")
        check_pairs(secret, account=account, transcript=transcript, setting=setting)
    for account in survivors:
        for other in transcript.partners(account, setting):
            if other not in inside and other not in transcript.pairs:
                raise BadSeed(account=other, problem="its words are not in, and the secret of its pairs is not here")
