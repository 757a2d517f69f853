Feature: Deleting a volume
  Data goes only when nobody can still be writing it, and what is gone stays
  readable in the log. A storage that is in use is not an error: it is not now.

  Rule: Deleting a volume removes its storage

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

    Scenario: It is attached
      Given an available volume "db"
      And "web-1" has attached "db"
      When "db" is deleted
      Then the request is refused with "cannot delete while in-use"
      And "db" is in-use

    Scenario: It is attached, and deleted by force
      Given an available volume "db"
      And "web-1" has attached "db"
      When "db" is deleted by force
      Then the request is refused with "cannot delete while in-use"
      And nothing is recorded

    Scenario: It is reserved
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "db" is deleted by force
      Then the request is refused with "cannot delete while reserved"

    Scenario: It is being attached
      Given an available volume "db"
      And "web-1" is attaching "db"
      When "db" is deleted by force
      Then the request is refused with "cannot delete while attaching"

    Scenario: It is being detached
      Given an available volume "db"
      And "web-1" is detaching "db"
      When "db" is deleted by force
      Then the request is refused with "cannot delete while detaching"

    Scenario: It is attached, and failed since
      Given a volume "db" of 1 GiB that "web-1" holds and that could not be extended
      When "db" is deleted by force
      Then the request is refused with "cannot delete while error_extending, not detached"

    Scenario: Somebody reserves it in the same moment
      When 10 times, a reservation and a deletion meet
      Then each time one of the two wins and the other is refused

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

    Scenario: A process has it open
      Given an available volume "db"
      And a process has "db" open
      When "db" is deleted
      Then the log of "db" ends with "volume.deletion_put_off"
      And "db" is available because "is in use by process"

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

  Rule: A deletion that failed can be asked for again

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

    Scenario: The storage works again
      Given a volume "db" that could not be deleted
      When "db" is deleted
      Then "db" is deleted
      And "db" shows no error

    Scenario: A volume that could not be extended
      Given a volume "db" of 1 GiB that could not be extended
      When "db" is deleted
      Then "db" is deleted

  Rule: Work that is under way ends before the volume, or not at all

    Scenario: A volume that is being made
      Given "db" is being made
      When "db" is deleted
      Then the request is refused with "cannot delete while creating"

    Scenario: A volume that is being made is deleted by force
      Given "db" is being made
      And "db" was deleted by force
      When backend "faulty" behaves again
      Then "db" is deleted
      And "db" has no storage

    Scenario: A volume that is being extended is deleted by force
      Given an available volume "db" on backend "faulty"
      And "db" is being extended to 2 GiB
      And "db" was deleted by force
      When backend "faulty" behaves again
      Then "db" is deleted
      And "db" has no storage

    Scenario: A volume that is being extended
      Given an available volume "db" on backend "faulty"
      And "db" is being extended to 2 GiB
      When "db" is deleted
      Then the request is refused with "cannot delete while extending"
