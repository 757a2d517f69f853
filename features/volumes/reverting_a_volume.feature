@wire
Feature: Reverting a volume
  A volume holds again what its latest snapshot does. Whatever happens on the way, it
  ends with what it held or with what the snapshot holds, and the snapshot stays.

  Rule: It holds what its latest snapshot does

    @lvm
    Scenario: It was overwritten since
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"
      And the snapshot "monday" is available

    @lvm
    Scenario: Again, for the snapshot is as it was
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was reverted to "monday"
      And "db" was overwritten with "bills"
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"

  Rule: There is no way back beyond the latest

    Scenario: An older one
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      When "db" is reverted to "monday"
      Then the request is refused with "not its latest snapshot"
      And nothing is recorded

    @lvm
    Scenario: The later one is deleted first
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And a snapshot "tuesday" of "db"
      And the snapshot "tuesday" was deleted
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"

    Scenario: The later one could not be taken
      Given an available volume "db" on backend "faulty" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And a snapshot "tuesday" of "db" that could not be taken
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"

    Scenario: Another volume's
      Given an available volume "db"
      And an available volume "web"
      And a snapshot "monday" of "web"
      When "db" is reverted to "monday"
      Then the request is refused with "not the volume that snapshot"

    Scenario: It has grown since
      Given an available volume "db" of 1 GiB
      And a snapshot "monday" of "db"
      And "db" was extended to 2 GiB
      When "db" is reverted to "monday"
      Then the request is refused with "not of the snapshot's size any more"

  Rule: Nobody's data is changed under their hands

    Scenario: Somebody holds it
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And "web-1" has attached "db"
      When "db" is reverted to "monday"
      Then the request is refused with "cannot revert while in-use"
      And nothing is recorded

    @lvm
    Scenario: A process has it open
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And a process has "db" open
      When "db" is reverted to "monday"
      Then the log of "db" ends with "volume.reversion_put_off"
      And "db" is available because "is in use"
      And "db" holds "bills"

    Scenario: A volume is being made of it
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "copy" is being made of the volume "db"
      When "db" is reverted to "monday"
      Then it is refused because of "copy"

  Rule: The snapshot stays as long as it is needed, and after

    Scenario: It is deleted meanwhile
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "db" is being reverted to "monday"
      When the snapshot "monday" is deleted
      Then the request is refused with "cannot delete while restoring"

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And backend "faulty" fails to revert volumes
      When "db" is reverted to "monday"
      Then "db" is available because "the storage does not answer; see its cabling"
      And the snapshot "monday" is available

    Scenario: It is asked for again after a failure
      Given an available volume "db" on backend "faulty" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And "db" could not be reverted to "monday"
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"

  Rule: A crash in the middle does not matter

    Scenario: Everything is killed while it is being reverted
      Given a service that can be killed
      And an available volume "db" on backend "faulty" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And "db" is being reverted to "monday"
      When the service is killed, backend "faulty" mended, and started again
      Then "db" is available
      And "db" holds "orders"
      And the snapshot "monday" is available
