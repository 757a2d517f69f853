@wire
Feature: Taking a snapshot
  What a volume holds at one moment is kept, whatever is written to it since. Who
  takes one of a volume that hosts may be writing says so, and the log keeps it.

  Rule: A snapshot keeps what its volume held

    @lvm
    Scenario: The volume is overwritten
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      When "copy" is made of the snapshot "monday"
      Then "copy" is available
      And "copy" holds "orders"
      And "db" holds "bills"

    @lvm
    Scenario: Each of several
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And a snapshot "tuesday" of "db"
      And "db" was overwritten with "nothing"
      And "copy of monday" was made of the snapshot "monday"
      When "copy of tuesday" is made of the snapshot "tuesday"
      Then "copy of tuesday" is available
      And "copy of monday" holds "orders"
      And "copy of tuesday" holds "bills"

  Rule: A volume that hosts may be writing has snapshots by force alone

    Scenario: It is in use
      Given a volume "db" that is in-use
      When a snapshot "monday" of "db" is taken
      Then the request is refused with "cannot snapshot while in-use, not force given"
      And nothing is recorded

    @lvm
    Scenario: It is in use, and it is said that this is known
      Given an available volume "db"
      And "web-1" has attached "db"
      When a snapshot "monday" of "db" is taken by force
      Then the snapshot "monday" is available
      And the log of the snapshot "monday" says that hosts may have written
      And "db" is in-use

  Rule: A volume that is not at rest has none

    Scenario Outline: Something is under way
      Given a volume "db" that is <status>
      When a snapshot "monday" of "db" is taken by force
      Then the request is refused with "cannot snapshot while <status>"
      And nothing is recorded

      Examples:
        | status         |
        | extending      |
        | deleting       |
        | error          |

    Scenario: It never was
      When a snapshot of a volume that never was is taken
      Then the request is refused as not-found
      And nothing is recorded

  Rule: A snapshot takes as much room as its volume

    Scenario: It is taken
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 3 GiB on backend "small"
      When a snapshot "monday" of "db" is taken
      Then the snapshot "monday" is available
      And backend "small" has room for 4 GiB

    Scenario: There is not enough
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 6 GiB on backend "small"
      When a snapshot "monday" of "db" is taken
      Then the request is refused as no-capacity
      And nothing is recorded

  Rule: One that could not be taken says why, and its volume is as before

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And backend "faulty" fails to take snapshots
      When a snapshot "monday" of "db" is taken
      Then the snapshot "monday" is error because "the storage does not answer; see its cabling"
      And "db" is available
