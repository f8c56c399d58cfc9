"""Keys of the WSGI environ in which filters and applications meet.

The README of this distribution describes each of them. A client can set none: the headers that it
sends arrive under keys that begin with ``HTTP_``.
"""

# Set by filters.
REQUEST_ID = "labapi.request_id"
GLOBAL_REQUEST_ID = "labapi.global_request_id"
PEER_ADDRESS = "labapi.peer_address"
FORWARDED_UNBELIEVED = "labapi.forwarded_unbelieved"
AUTH = "labapi.auth"
CONTEXT = "labapi.context"
RATELIMIT = "labapi.ratelimit"
HOST_GUARD = "labapi.host_guard"

# Set by the application.
ROUTE = "labapi.route"
AUDIT = "labapi.audit"

# Set by keystonemiddleware's auth_token for a token that it has validated, and for no other.
KEYSTONE = "keystone.token_info"

# What is shown for a request of which the application has named no route.
UNMATCHED = "unmatched"
