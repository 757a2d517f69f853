@wire
Feature: Updating a volume
  What callers say about a volume is theirs to change. Whether it may be written
  changes only while nobody holds it, so no host is told otherwise than it was.

  Rule: What is said of a volume changes, and nothing else

    Scenario: Its name
      Given an available volume "db"
      When "db" is renamed to "orders"
      Then "db" is called "orders"
      And "db" is available

    Scenario: Its labels are replaced as a whole
      Given an available volume "db"
      And "db" was labelled "tier" as "gold"
      When "db" is labelled "owner" as "ana"
      Then "db" has only the label "owner" as "ana"

    Scenario: A machine can be started from it
      Given an available volume "db"
      When "db" is made bootable
      Then "db" can be started from

  Rule: Saying nothing new adds nothing

    Scenario: Its name is what it was
      Given an available volume "db"
      When "db" is renamed to "db"
      Then the request succeeds
      And nothing is recorded

  Rule: A volume becomes read-only while nobody holds it

    Scenario: Nobody holds it
      Given an available volume "db"
      When "db" is made read-only
      Then the log of "db" ends with "volume.updated"

    Scenario: Somebody holds it
      Given an available volume "db"
      And "web-1" has attached "db"
      When "db" is made read-only
      Then the request is refused with "cannot update while in-use"

    Scenario: Somebody writes it by a way of its own
      Given an available volume "db" on backend "faulty"
      And "node-1" was given a way to "db"
      When "db" is made read-only
      Then the request is refused with "not disconnected"

  Rule: A deleted volume is history

    Scenario: It is renamed
      Given a deleted volume "db"
      When "db" is renamed to "orders"
      Then the request is refused with "cannot update while deleted"

  Rule: What is said of a volume is bounded text

    Scenario Outline: Text that is refused
      Given an available volume "db"
      When the <what> of "db" is changed to <value>
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | what        | value          |
        | name        | 256 times "x"  |
        | name        | "a\\nb"        |
        | description | 1025 times "x" |
        | label       | null           |
        | protection  | "yes"          |
        | colour      | "blue"         |
