Feature: Creating a volume
  A caller is answered as soon as the wish is durable; the storage follows. What
  comes of it stands in the volume, in words an operator can act on.

  Rule: A volume is creating until its storage is there

    Scenario: The storage is made
      When a volume "db" of 2 GiB is created
      Then "db" is available
      And "db" has a storage of 2 GiB
      And the log of "db" ends with "volume.creation_finished"

    Scenario: The answer does not wait for the storage
      Given backend "faulty" does not answer when asked to make a volume
      When a volume "db" of 1 GiB is created on backend "faulty"
      Then the request succeeds
      And "db" is creating

    Scenario: The storage cannot be made
      Given backend "faulty" fails to make volumes
      When a volume "db" of 1 GiB is created on backend "faulty"
      Then "db" is error because "the storage does not answer; see its cabling"
      And the log of "db" ends with "volume.creation_failed"

  Rule: An id is used once

    Scenario: The id of another volume
      Given an available volume "db"
      When a volume is created under the id of "db"
      Then the request is refused as conflict
      And nothing is recorded

    Scenario: The id of a deleted volume
      Given a deleted volume "db"
      When a volume is created under the id of "db"
      Then the request is refused as conflict
      And nothing is recorded
