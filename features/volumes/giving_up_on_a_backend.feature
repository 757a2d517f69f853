@wire
Feature: Giving up on a backend
  No volume stays in between for ever. Where a backend does not answer in time,
  the volume says so, and can be asked for again or removed; an answer that comes
  later changes nothing.

  Background:
    Given a service that soon loses its patience

  Rule: Work that is not done in time has failed

    Scenario: A volume is not made
      Given backend "faulty" does not answer when asked to make a volume
      When a volume "db" of 1 GiB is created on backend "faulty"
      Then "db" is error because "has not done it within 5 s"

    Scenario: A volume is not extended
      Given an available volume "db" of 1 GiB on backend "faulty"
      And backend "faulty" does not answer when asked to grow a volume
      When "db" is extended to 2 GiB
      Then "db" is error_extending because "has not done it within 5 s"

    Scenario: A volume is not deleted
      Given an available volume "db" on backend "faulty"
      And backend "faulty" does not answer when asked to remove a volume
      When "db" is deleted
      Then "db" is error_deleting because "has not done it within 5 s"

    Scenario: A storage is not taken over
      Given backend "faulty" has a storage "disk-1" of 1 GiB
      And backend "faulty" does not answer when asked to adopt a volume
      When "disk-1" of backend "faulty" is managed as "db"
      Then "db" is error_managing because "has not done it within 5 s"

    Scenario: A volume is not let go of
      Given an available volume "db" on backend "faulty"
      And backend "faulty" does not answer when asked to release a volume
      When "db" is unmanaged
      Then "db" is error_unmanaging because "has not done it within 5 s"

  Rule: A host that is not served in time is told why

    Scenario: It is not connected
      Given "web-1" has reserved "db" on a backend that does not answer
      When "web-1" connects "db"
      Then the attachment of "web-1" to "db" is error_attaching because "has not done it within 5 s"
      And "db" is available

    Scenario: It is not disconnected
      Given "web-1" has attached "db" on a backend that does not answer
      When "web-1" lets go of "db"
      Then the attachment of "web-1" to "db" is error_detaching because "has not done it within 5 s"
      And "db" is in-use

  Rule: An answer that comes too late changes nothing

    Scenario: The storage was made after all
      Given "db" was given up while it was being made
      When backend "faulty" behaves again
      Then "db" gets a storage
      And "db" is error

    Scenario: What was made after all is deleted with its volume
      Given "db" was given up while it was being made
      And backend "faulty" behaved again
      When "db" is deleted
      Then "db" is deleted
      And "db" has no storage

    Scenario: The storage grew after all
      Given a volume "db" was given up while it was being extended to 2 GiB
      And backend "faulty" behaved again
      When "db" is extended to 3 GiB
      Then "db" is available and has 3 GiB
      And "db" has a storage of 3 GiB

  Rule: A reversion that was given up keeps its snapshot until it is done

    Scenario: The snapshot is deleted
      Given an available volume "db" on backend "faulty"
      And a snapshot "monday" of "db"
      And "db" was given up while it was being reverted to "monday"
      When the snapshot "monday" is deleted
      Then it is refused because of "db"
      And nothing is recorded

    Scenario: It is done after all
      Given an available volume "db" on backend "faulty" that holds "orders"
      And a snapshot "monday" of "db"
      And "db" was overwritten with "bills"
      And "db" was given up while it was being reverted to "monday"
      When "db" is reverted to "monday"
      Then "db" is available
      And "db" holds "orders"
