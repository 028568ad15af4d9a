"""What is wrong with a bucket, in words: an error each for what the stores answer, with the way out."""

import contextlib
import re
from collections.abc import Iterator

from conan_assets.files import ArtifactError
from conan_assets.redaction import redacted

_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS, or AZURE_STORAGE_ACCOUNT_NAME and "
    "AZURE_STORAGE_ACCOUNT_KEY"
)
_KNOWN = {
    r"NoSuchBucket|ContainerNotFound|specified bucket does not exist": (
        "the bucket does not exist, or not at that endpoint: make it, or correct the address in $CONAN_HOME or `home`"
    ),
    r"RequestTimeTooSkewed|RequestExpired|not yet valid|Invalid JWT": (
        "this machine's clock is wrong, and its requests are refused: set the clock, by NTP for example"
    ),
    r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|AuthenticationFailed|UnauthenticatedError": (
        f"the credentials are wrong or have expired: set {_CREDENTIALS} in the environment"
    ),
    r"AccessDenied|AuthorizationFailure|AuthorizationPermissionMismatch|PermissionDenied|\b403 Forbidden": (
        "permission is denied: reading, writing, listing and deleting below the address is needed"
    ),
    r"169\.254\.169\.254|metadata\.google|Account must be specified|MissingAccount|Missing(?:Access|Secret)": (
        f"there are no credentials: set {_CREDENTIALS} in the environment"
    ),
    r"incorrectly configured region|PermanentRedirect|AuthorizationHeaderMalformed": (
        "the bucket lies in another region: set AWS_REGION to it"
    ),
}


class BucketError(ArtifactError):
    """A bucket refuses what was asked of it; the message names its address and the way out."""

    is_transient = False


class BucketUnreachableError(BucketError):
    """No answer came from a bucket, even when asked again; what was finished stays in the working copy."""

    is_transient = True


@contextlib.contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what a store raises into a BucketError without the request that was sent.

    FileNotFoundError, for an object that is not there, and lost conditions pass as they are.
    """
    from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except (BaseError, OSError) as error:
        told = f"{type(error).__name__}: {error}"
        for pattern, reason in _KNOWN.items():
            if re.search(pattern, told):
                raise BucketError(f"{address}: {reason}") from None
        if isinstance(error, FileNotFoundError):
            raise
        raise BucketUnreachableError(
            f"{address} cannot be reached: {redacted(str(error).splitlines()[0])}; what is finished is kept in the "
            "working copy: run again when the bucket answers"
        ) from None
