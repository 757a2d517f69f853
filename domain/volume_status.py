"""What a volume may go through: its statuses, and the moves between them."""

from __future__ import annotations

from enum import StrEnum

from domain.attachment import AttachStatus
from domain.lifecycle import Lifecycle


class Status(StrEnum):
    CREATING = "creating"
    AVAILABLE = "available"
    RESERVED = "reserved"
    ATTACHING = "attaching"
    IN_USE = "in-use"
    DETACHING = "detaching"
    EXTENDING = "extending"
    REVERTING = "reverting"
    MAINTENANCE = "maintenance"
    DELETING = "deleting"
    DELETED = "deleted"
    MANAGING = "managing"
    UNMANAGING = "unmanaging"
    ERROR = "error"
    ERROR_EXTENDING = "error_extending"
    ERROR_DELETING = "error_deleting"
    ERROR_MANAGING = "error_managing"
    ERROR_UNMANAGING = "error_unmanaging"


S = Status
HELD = [S.RESERVED, S.ATTACHING, S.IN_USE, S.DETACHING]
AT_REST = [S.AVAILABLE, *HELD]
FAILED = [S.ERROR, S.ERROR_EXTENDING, S.ERROR_DELETING, S.ERROR_UNMANAGING]
# Its storage is whole, as far as anybody knows, and may be left to others.
OWN = [S.AVAILABLE, S.ERROR, S.ERROR_EXTENDING, S.ERROR_UNMANAGING]
ALREADY_MANAGED = "already_managed"  # the code of storage that somebody has
NOT_THERE = "invalid_reference"  # the code of storage that there is not
# Codes after which a backend that was asked to take storage over has none of it.
NOTHING_TAKEN = (ALREADY_MANAGED, NOT_THERE)
NOT_OURS = [S.MANAGING, S.ERROR_MANAGING]
# A backend is at work on the volume as a whole, and says when that has ended.
UNDER_WAY = [
    S.CREATING,
    S.EXTENDING,
    S.REVERTING,
    S.DELETING,
    S.MANAGING,
    S.UNMANAGING,
]
THERE = [s for s in Status if s not in (S.DELETING, S.UNMANAGING, S.DELETED)]
GOING = [S.DELETING, S.UNMANAGING, S.DELETED, S.ERROR_DELETING]

# fmt: off
# A row that leads to `available` leads to rest, where a volume shows the
# strongest of its attachments: see SHOWN.
LIFECYCLE = Lifecycle(Status, [
    # command               from                to                 only if
    ["created",             S.CREATING,         S.AVAILABLE                       ],
    ["creation_failed",     S.CREATING,         S.ERROR                           ],
    ["reschedule",          S.CREATING,         S.CREATING                        ],
    ["manage",              S.ERROR_MANAGING,   S.MANAGING                        ],
    ["manage",              S.DELETED,          S.MANAGING,        "let_go"       ],
    ["managed",             S.MANAGING,         S.AVAILABLE                       ],
    ["managing_failed",     S.MANAGING,         S.ERROR_MANAGING                  ],
    ["update",              THERE,              "="                               ],
    ["update/readonly",     S.AVAILABLE,        S.AVAILABLE,       "disconnected" ],
    ["reserve",             S.AVAILABLE,        S.AVAILABLE                       ],
    ["reserve",             HELD,               S.AVAILABLE,       "multiattach"  ],
    ["reserve/again",       HELD,               S.AVAILABLE                       ],
    ["attach",              S.AVAILABLE,        S.AVAILABLE                       ],
    ["attach",              HELD,               S.AVAILABLE,       "multiattach"  ],
    ["attach/claim",        HELD,               S.AVAILABLE                       ],
    ["complete",            HELD,               S.AVAILABLE                       ],
    ["connect",             AT_REST,            S.AVAILABLE                       ],
    ["connect",             S.EXTENDING,        "="                               ],
    ["connect",             S.ERROR_EXTENDING,  "="                               ],
    ["detach",              AT_REST,            S.AVAILABLE                       ],
    ["detach",              S.EXTENDING,        "="                               ],
    ["detach",              FAILED,             "="                               ],
    ["remove_export",       AT_REST,            S.AVAILABLE,       "unused"       ],
    ["remove_export",       FAILED,             "=",               "unused"       ],
    ["extend",              S.AVAILABLE,        S.EXTENDING                       ],
    ["extend",              S.IN_USE,           S.EXTENDING                       ],
    ["extend",              S.ERROR_EXTENDING,  S.EXTENDING                       ],
    ["extended",            S.EXTENDING,        S.AVAILABLE                       ],
    ["extension_failed",    S.EXTENDING,        S.ERROR_EXTENDING                 ],
    ["snapshot",            S.AVAILABLE,        "="                               ],
    ["snapshot/force",      AT_REST,            "="                               ],
    ["copy",                [S.AVAILABLE, S.IN_USE], "="                          ],
    ["group",               [S.AVAILABLE, S.IN_USE], "="                          ],
    ["ungroup",             [*AT_REST, *FAILED], "="                              ],
    ["revert",              S.AVAILABLE,        S.REVERTING,       "disconnected" ],
    ["revert",              S.ERROR,            S.REVERTING,       "disconnected" ],
    ["reverted",            S.REVERTING,        S.AVAILABLE                       ],
    ["reversion_failed",    S.REVERTING,        S.ERROR                           ],
    ["reversion_put_off",   S.REVERTING,        S.AVAILABLE,       "was_available"],
    ["reversion_put_off",   S.REVERTING,        S.ERROR                           ],
    ["delete",              S.AVAILABLE,        S.DELETING,        "disconnected" ],
    ["delete",              FAILED,             S.DELETING,        "disconnected" ],
    ["delete/force",        S.AVAILABLE,        S.DELETING                        ],
    ["delete/force",        FAILED,             S.DELETING,        "detached"     ],
    ["delete/force",        S.CREATING,         S.DELETING                        ],
    ["delete/force",        S.EXTENDING,        S.DELETING,        "detached"     ],
    ["delete/force",        S.MAINTENANCE,      S.DELETING,        "detached"     ],
    ["delete/awaited",      S.DELETING,         S.DELETING                        ],
    ["deleted",             S.DELETING,         S.DELETED                         ],
    ["deletion_failed",     S.DELETING,         S.ERROR_DELETING                  ],
    ["deletion_put_off",    S.DELETING,         S.AVAILABLE,       "was_available"],
    ["deletion_put_off",    S.DELETING,         S.ERROR,           "was_error"    ],
    ["deletion_put_off",    S.DELETING,         S.ERROR_EXTENDING, "was_too_small"],
    ["deletion_put_off",    S.DELETING,         S.ERROR_DELETING                  ],
    # What was never taken over is not ours to delete: it is let go of.
    ["delete",              S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["delete/force",        S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["delete/force",        S.MANAGING,         S.UNMANAGING                      ],
    ["unmanage",            OWN,                S.UNMANAGING,      "disconnected" ],
    ["unmanage",            S.ERROR_MANAGING,   S.UNMANAGING                      ],
    ["unmanaged",           S.UNMANAGING,       S.DELETED                         ],
    ["unmanaging_failed",   S.UNMANAGING,       S.ERROR_MANAGING,  "never_ours"   ],
    ["unmanaging_failed",   S.UNMANAGING,       S.ERROR_UNMANAGING                ],
    ["unmanaging_put_off",  S.UNMANAGING,       S.AVAILABLE,       "was_available"],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR,           "was_error"    ],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR_EXTENDING, "was_too_small"],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR_MANAGING,  "never_ours"   ],
    ["unmanaging_put_off",  S.UNMANAGING,       S.ERROR_UNMANAGING                ],
])

# What a volume at rest shows, strongest first. A host that could not be taken
# off may still write; one that never got on does not.
SHOWN = {
    AttachStatus.ATTACHED:        S.IN_USE,
    AttachStatus.ERROR_DETACHING: S.IN_USE,
    AttachStatus.ATTACHING:       S.ATTACHING,
    AttachStatus.DETACHING:       S.DETACHING,
    AttachStatus.RESERVED:        S.RESERVED,
    AttachStatus.ERROR_ATTACHING: S.AVAILABLE,
    AttachStatus.DETACHED:        S.AVAILABLE,
}
# fmt: on
# An attachment that counts as a hold.
HOLDING = [held for held, shown in SHOWN.items() if shown is not S.AVAILABLE]
