@wire
Feature: Deleting a volume
  Data goes only when nobody can still be writing it, and what is gone stays
  readable in the log. A storage that is in use is not an error: it is not now.

  Rule: Deleting a volume removes its storage

    @lvm
    Scenario: A volume at rest
      Given an available volume "db"
      When "db" is deleted
      Then "db" is deleted
      And "db" has no storage

    Scenario: The storage is gone already
      Given an available volume "db"
      And the storage of "db" was removed behind our back
      When "db" is deleted
      Then "db" is deleted

    Scenario: The storage was never made
      Given a volume "db" that could not be made
      When "db" is deleted
      Then "db" is deleted
      And "db" shows no error

  Rule: A deleted volume stays readable

    Scenario: It is looked at
      Given a deleted volume "db"
      When "db" is looked at
      Then the answer shows "db" as deleted

    Scenario: It is deleted again
      Given a deleted volume "db"
      When "db" is deleted
      Then the request succeeds
      And nothing is recorded

    Scenario: It never was
      When a volume that never was is deleted
      Then the request is refused as not-found
      And nothing is recorded

  Rule: A volume that somebody holds is not deleted, even by force

    Scenario Outline: Somebody is at it
      Given a volume "db" that is <status>
      When "db" is deleted
      Then the request is refused with "cannot delete while <status>"
      And nothing is recorded

      Examples:
        | status    |
        | reserved  |
        | attaching |
        | in-use    |
        | detaching |

    Scenario Outline: Somebody is at it, and it is deleted by force
      Given a volume "db" that is <status>
      When "db" is deleted by force
      Then the request is refused with "cannot delete while <status>"
      And nothing is recorded

      Examples:
        | status    |
        | reserved  |
        | attaching |
        | in-use    |
        | detaching |

    Scenario: It is attached, and failed since
      Given a volume "db" of 1 GiB that "web-1" holds and that could not be extended
      When "db" is deleted by force
      Then the request is refused with "cannot delete while error_extending, not detached"

  Rule: Whoever comes first wins

    Scenario: Somebody reserves it in the same moment
      When 10 times, a reservation and a deletion meet
      Then each time one of the two wins and the other is refused
      And each volume that was not deleted is reserved

  Rule: A way that a host was given is closed before the storage goes

    Scenario: A host still has a way to it
      Given an available volume "db" on backend "faulty"
      And "node-1" was given a way to "db"
      When "db" is deleted
      Then the request is refused with "not disconnected"
      And "node-1" reaches "db"

    Scenario: A host still has a way to it, and it is deleted by force
      Given an available volume "db" on backend "faulty"
      And "node-1" was given a way to "db"
      When "db" is deleted by force
      Then "db" is deleted
      And no host reaches "db"

  Rule: A storage in use is not an error

    @lvm
    Scenario: A process has it open
      Given an available volume "db"
      And a process has "db" open
      When "db" is deleted
      Then the log of "db" ends with "volume.deletion_put_off"
      And "db" is available because "is in use"

    Scenario: The process has closed it
      Given an available volume "db"
      And "db" could not be deleted while a process had it open
      When "db" is deleted
      Then "db" is deleted

    Scenario: It had failed before
      Given a volume "db" that could not be deleted
      And a process has "db" open
      When "db" is deleted
      Then the log of "db" ends with "volume.deletion_put_off"
      And "db" is error_deleting

  Rule: A deletion that failed says why

    Scenario: The storage fails
      Given an available volume "db" on backend "faulty"
      And backend "faulty" fails to remove volumes
      When "db" is deleted
      Then "db" is error_deleting because "the storage does not answer; see its cabling"

    Scenario: The storage cannot close the ways to it
      Given an available volume "db" on backend "faulty"
      And backend "faulty" fails to unexport volumes
      When "db" is deleted
      Then "db" is error_deleting because "the storage does not answer; see its cabling"
      And "db" has a storage of 1 GiB

  Rule: A volume that failed can be deleted

    Scenario: It could not be deleted before
      Given a volume "db" that could not be deleted
      When "db" is deleted
      Then "db" is deleted
      And "db" shows no error

    Scenario: It could not be extended before
      Given a volume "db" of 1 GiB that could not be extended
      When "db" is deleted
      Then "db" is deleted

  Rule: Work that is under way is not cut short

    Scenario: A volume that is being made
      Given "db" is being made
      When "db" is deleted
      Then the request is refused with "cannot delete while creating"

    Scenario: A volume that is being extended
      Given a volume "db" that is extending
      When "db" is deleted
      Then the request is refused with "cannot delete while extending"

  Rule: Force waits for the work that is under way, and undoes it

    Scenario: A volume that is being made is deleted by force
      Given "db" is being made
      And "db" was deleted by force
      When backend "faulty" behaves again
      Then "db" is deleted
      And "db" has no storage

    Scenario: A volume that is being extended is deleted by force
      Given a volume "db" that is extending
      And "db" was deleted by force
      When backend "faulty" behaves again
      Then "db" is deleted
      And "db" has no storage

  Rule: A volume with snapshots stays, unless they are to go with it

    Scenario: It has a snapshot
      Given an available volume "db"
      And a snapshot "monday" of "db"
      When "db" is deleted
      Then it is refused because of "monday"
      And nothing is recorded

    @lvm
    Scenario: They go with it
      Given an available volume "db"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      When "db" is deleted with its snapshots
      Then "db" is deleted
      And the snapshot "monday" is deleted
      And the snapshot "tuesday" is deleted
      And "db" has no storage

    @lvm
    Scenario: What was made of them stays
      Given an available volume "db" that holds "orders"
      And a snapshot "monday" of "db"
      And "copy" was made of the snapshot "monday"
      When "db" is deleted with its snapshots
      Then "db" is deleted
      And "copy" holds "orders"

  Rule: All of them go, or nothing was changed

    Scenario: One of them is needed
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And a snapshot "tuesday" of "db"
      And "copy" is being made of the snapshot "tuesday"
      When "db" is deleted with its snapshots
      Then it is refused because of "copy"
      And nothing is recorded

    Scenario: Somebody asks for a copy in the same moment
      When "db" is deleted with its snapshots while "copy" is made of "monday", 10 times
      Then each time one of the two wins and nothing is half done

    Scenario: One of them cannot be removed
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And backend "faulty" fails to remove snapshots
      When "db" is deleted with its snapshots
      Then "db" is available because "the storage does not answer; see its cabling"
      And the snapshot "monday" is error_deleting
