@wire
Feature: Deleting a snapshot
  A snapshot goes, and everything else stays: its volume, older and younger ones, and
  what was made of it. One that is needed says by whom.

  Rule: Its volume and the other snapshots stay as they are

    @lvm
    Scenario: The one in the middle
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      And "db" was overwritten with "bills"
      And a snapshot "wednesday" of "db"
      And the snapshot "tuesday" was deleted
      And "copy of monday" was made of the snapshot "monday"
      When "copy of wednesday" is made of the snapshot "wednesday"
      Then "copy of wednesday" is available
      And "copy of monday" holds "orders"
      And "copy of wednesday" holds "bills"

    @lvm
    Scenario: What was made of it
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "copy" was made of the snapshot "monday"
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted
      And "copy" holds "orders"
      And "db" holds "orders"

  Rule: A snapshot that is needed stays, and says by whom

    Scenario: A volume is being made of it
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "copy" is being made of the snapshot "monday"
      When the snapshot "monday" is deleted
      Then it is refused because of "copy"
      And nothing is recorded

    Scenario: The volume is made
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And "copy" was made of the snapshot "monday"
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted

    Scenario: The volume could not be made
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "copy" could not be made of the snapshot "monday"
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted

  Rule: A storage in use is not an error

    Scenario: Something uses it
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And something on backend "faulty" uses its snapshots
      When the snapshot "monday" is deleted
      Then the log of the snapshot "monday" ends with "snapshot.deletion_put_off"
      And the snapshot "monday" is available because "somebody still uses"

  Rule: A deletion that failed says why, and can be asked for again

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And backend "faulty" fails to remove snapshots
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is error_deleting because "the storage does not answer; see its cabling"

    Scenario: It could not be deleted before
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And the snapshot "monday" could not be deleted
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted

  Rule: What is gone, or was never taken, is deleted

    Scenario: It is deleted again
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And the snapshot "monday" was deleted
      When the snapshot "monday" is deleted
      Then the request succeeds
      And nothing is recorded

    Scenario: It could not be taken
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db" that could not be taken
      When the snapshot "monday" is deleted
      Then the snapshot "monday" is deleted

    Scenario: It never was
      When a snapshot that never was is deleted
      Then the request is refused as not-found
      And nothing is recorded

  Rule: Only force waits for one that is being taken, and undoes it

    Scenario: It is being taken
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db" is being taken
      When the snapshot "monday" is deleted
      Then the request is refused with "cannot delete while creating"

    Scenario: It is being taken, and is deleted by force
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db" is being taken
      And the snapshot "monday" was deleted by force
      When backend "faulty" behaves again
      Then the snapshot "monday" is deleted
