@wire
Feature: Unmanaging a volume
  An operator takes storage back: the volume is gone, and everything on it is where
  it was, under a name that its log tells. Nothing of this destroys data.

  Rule: The volume goes, its storage stays

    Scenario: A volume at rest
      Given an available volume "db" with data on it
      When "db" is unmanaged
      Then "db" is deleted
      And the log of "db" ends with "volume.unmanaged"
      And the storage that "db" had is to be managed again

    Scenario: The room is nobody's any more
      Given backend "small" has room for 10 GiB
      And an available volume "db" of 4 GiB on backend "small"
      When "db" is unmanaged
      Then "db" is deleted
      And backend "small" counts what its volumes take

    Scenario: There is no storage
      Given a volume "db" that could not be made
      When "db" is unmanaged
      Then "db" is deleted

  Rule: What was unmanaged can be managed again

    Scenario: Under its id
      Given an available volume "db" with data on it
      And "db" was unmanaged
      When the storage that "db" had is managed under its id
      Then "db" is available and has 1 GiB
      And "db" has its data

    Scenario: A deleted volume does not come back
      Given a deleted volume "db"
      When the storage that "db" had is managed under its id
      Then the request is refused as conflict
      And nothing is recorded

  Rule: A volume that somebody may write to is not unmanaged

    Scenario Outline: It is not at rest
      Given a volume "db" that is <status>
      When "db" is unmanaged
      Then the request is refused with "cannot unmanage while <status>"
      And nothing is recorded

      Examples:
        | status         |
        | creating       |
        | reserved       |
        | attaching      |
        | in-use         |
        | detaching      |
        | extending      |
        | deleting       |
        | error_deleting |

    Scenario: A host has a way to it
      Given an available volume "db" on backend "faulty"
      And "node-1" was given a way to "db"
      When "db" is unmanaged
      Then the request is refused with "not disconnected"

    Scenario: A process has it open
      Given an available volume "db"
      And a process has "db" open
      When "db" is unmanaged
      Then "db" shows the error "is in use by process"
      And "db" is available

  Rule: Saying so again adds nothing

    Scenario: It is unmanaged again
      Given an available volume "db"
      And "db" was unmanaged
      When "db" is unmanaged
      Then the request succeeds
      And nothing is recorded

  Rule: A volume that could not be let go of is kept, and may be tried again

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And backend "faulty" fails to release volumes
      When "db" is unmanaged
      Then "db" is error_unmanaging because "the storage does not answer; see its cabling"

    Scenario: The storage works again
      Given a volume "db" that could not be unmanaged
      When "db" is unmanaged
      Then "db" is deleted
