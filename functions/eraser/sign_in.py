"""A user's entry in Cognito: what signs them in, with their address and password."""

from uuid import UUID

from botocore.exceptions import BotoCoreError, ClientError

from functions.eraser import receipt
from shared import clients
from shared.errors import TransientError


def end(user_pool_id: str, user_id: str) -> None:
    """Delete the user from the pool, where there is one: refresh tokens end with it.

    Raises:
        TransientError: Cognito or the database gave up.
    """
    if not _is_sub(user_id):
        return  # the folder of an operator, who signs in nowhere
    cognito = clients.cognito()
    try:
        # By `sub`: what Cognito calls the user may be something else, a federated one's for instance.
        found = cognito.list_users(UserPoolId=user_pool_id, Filter=f'sub = "{user_id}"', Limit=1)["Users"]
        if found:
            receipt.add_user(user_id)
        # The list may lag behind; whoever signed up with an address has their `sub` for a name.
        for name in [user["Username"] for user in found] or [user_id]:
            cognito.admin_delete_user(UserPoolId=user_pool_id, Username=name)
            receipt.add_user(user_id)
    except cognito.exceptions.UserNotFoundException:
        return  # there never was one, or another delivery was faster
    except (ClientError, BotoCoreError) as error:
        raise TransientError("Cognito did not answer as it should") from error


def _is_sub(user_id: str) -> bool:
    try:
        return str(UUID(user_id)) == user_id
    except ValueError:
        return False
