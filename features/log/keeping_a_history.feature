@wire
Feature: Keeping a history
  Whoever asks later who changed what, and why, is answered: everything that
  happened stands in the log, with who asked for it and what caused it.

  Rule: Everything that happened is told, oldest first

    Scenario: The life of a volume
      Given an available volume "db"
      And "web-1" has detached "db"
      When "db" is deleted
      Then "db" has this history
        | what                          | by          |
        | volume.created                | serve       |
        | volume.creation_finished      | agent files |
        | volume.reserved               | serve       |
        | volume.connection_started     | serve       |
        | volume.connection_finished    | agent files |
        | volume.attached               | serve       |
        | volume.disconnection_started  | serve       |
        | volume.disconnection_finished | agent files |
        | volume.deletion_started       | serve       |
        | volume.deleted                | agent files |

    Scenario: It is read in pages
      Given an available volume "db"
      And "web-1" has detached "db"
      When "db" is deleted
      Then "db" is deleted
      And the history of "db" is complete when read 3 at a time

    Scenario: Of one attachment
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      When "web-2" reserves "scratch"
      Then the history of the attachment of "web-1" to "scratch" is only its

  Rule: Who asked and why stands with all that followed

    Scenario: The backend's outcome has them too
      Given "ana" asks because of "the spring sale"
      When a volume "db" of 1 GiB is created
      Then "db" has this history
        | what                     | who | why             | by          |
        | volume.created           | ana | the spring sale | serve       |
        | volume.creation_finished | ana | the spring sale | agent files |

    Scenario: Nobody says who it is
      When a volume "db" of 1 GiB is created
      Then the request succeeds
      And "db" has this history
        | what                     | who | why | by          |
        | volume.created           |     |     | serve       |
        | volume.creation_finished |     |     | agent files |

    Scenario: What time brings about says so
      Given a service that soon loses its patience
      And an available volume "db"
      And "web-1" has reserved "db"
      When the deadline passes
      Then "db" has this history
        | what                     | who      | why                     |
        | volume.created           |          |                         |
        | volume.creation_finished |          |                         |
        | volume.reserved          |          |                         |
        | volume.released          | holdfast | its deadline has passed |

  Rule: What caused an event is told

    Scenario: An outcome names what was asked
      Given an available volume "db"
      When "db" is extended to 2 GiB
      Then "db" is available and has 2 GiB
      And each outcome in the history of "db" names what caused it

    Scenario: A trace goes on in what followed
      Given the caller follows a trace
      When a volume "db" of 1 GiB is created
      Then "db" is available
      And every line of the history of "db" follows the trace

    Scenario: What is no trace is left aside
      Given the caller gives "00-nonsense" for a trace
      When a volume "db" of 1 GiB is created
      Then "db" is available
      And no line of the history of "db" follows a trace

  Rule: What never was has no history

    Scenario: A volume
      When the history of a volume that never was is read
      Then the request is refused as not-found
      And nothing is recorded

  Rule: What an event changed is told

    Scenario: What is seen of a volume before and after
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      Then in the history of "db" this has changed
        | what                      | field    | before    | after     |
        | volume.extension_started  | status   | available | extending |
        | volume.extension_finished | status   | extending | available |
        | volume.extension_finished | size_gib | 1         | 2         |

    Scenario: Of a page that is not the first
      Given an available volume "db" of 1 GiB
      And "db" was extended to 2 GiB
      Then the history of "db" is complete when read 1 at a time

  Rule: Only what is asked for is told

    Scenario Outline: Narrowed down
      Given an available volume "db" of 1 GiB
      And "ana" asks because of "the spring sale"
      And everything is asked under the key "sale"
      When "db" is extended to 2 GiB
      Then "db" is available
      And "db" has this history <narrowed>
        | what    |
        | <first> |
        | <last>  |

      Examples:
        | narrowed                                 | first                    | last                      |
        | by "ana"                                 | volume.extension_started | volume.extension_finished |
        | since "volume.extension_started"         | volume.extension_started | volume.extension_finished |
        | until "volume.creation_finished"         | volume.created           | volume.creation_finished  |
        | with the key of "volume.extension_started" | volume.extension_started | volume.extension_finished |

    Scenario: What never happens is no event
      Given an available volume "db"
      When the history of "db" is asked for "volume.unheard_of"
      Then the request is refused as invalid
