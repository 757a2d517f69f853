@wire
Feature: Detaching a volume
  A holder can always be taken off, also one that vanished. Until the storage
  says that a host no longer reaches the volume, it may still write, and the
  volume says so.

  Rule: Letting go gives the volume back

    @lvm
    Scenario: The only holder
      Given an available volume "db"
      And "web-1" has attached "db"
      When "web-1" lets go of "db"
      Then "db" is available
      And the attachment of "web-1" to "db" is detached

    Scenario: A holder that vanished before it used the volume
      Given an available volume "db" on backend "faulty"
      And "web-1" is attaching "db"
      When "web-1" lets go of "db"
      Then "db" is available
      And no host reaches "db"

    Scenario: A holder that could not be connected
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be connected to "db"
      When "web-1" lets go of "db"
      Then "db" has 0 attachments

  Rule: What has ended has ended

    Scenario: It lets go again
      Given an available volume "db"
      And "web-1" has detached "db"
      When "web-1" lets go of "db"
      Then the request succeeds
      And nothing is recorded

    Scenario: It is detached again
      Given an available volume "db"
      And "web-1" has detached "db"
      When "db" is detached from "web-1"
      Then the request succeeds
      And nothing is recorded

    Scenario: It connects again
      Given an available volume "db"
      And "web-1" has detached "db"
      When "web-1" connects "db"
      Then the request is refused as refused
      And nothing is recorded

  Rule: What never was is not found

    Scenario: An attachment
      When an attachment that never was is ended
      Then the request is refused as not-found
      And nothing is recorded

    Scenario: A holder
      Given an available volume "db"
      And "web-1" has attached "db"
      When "db" is detached from a holder that never was
      Then the request is refused as not-found
      And "db" is in-use

  Rule: A volume is asked back, and given back or kept

    Scenario: It is asked back
      Given an available volume "db"
      And "web-1" was attached to "db"
      When "db" is asked back
      Then "db" is detaching

    Scenario: It is given back
      Given an available volume "db"
      And "web-1" was attached to "db"
      And "db" was asked back
      When "db" is detached
      Then "db" is available

    Scenario: It is kept after all
      Given an available volume "db"
      And "web-1" was attached to "db"
      And "db" was asked back
      When "db" is kept after all
      Then "db" is in-use

  Rule: Only what is attached is asked back

    Scenario: Nobody holds it
      Given an available volume "db"
      When "db" is asked back
      Then the request is refused with "cannot begin_detaching while available"

    Scenario: It is only reserved
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "db" is asked back
      Then the request is refused as refused
      And "db" is reserved

    Scenario: It was not asked back
      Given an available volume "db"
      And "web-1" was attached to "db"
      When "db" is kept after all
      Then the request is refused as refused
      And "db" is in-use

  Rule: Without a name the only holder is meant

    Scenario: There is one
      Given an available volume "db"
      And "web-1" was attached to "db"
      When "db" is detached
      Then "db" is available

    Scenario: There is none
      Given an available volume "db"
      When "db" is detached
      Then the request succeeds
      And nothing is recorded

    Scenario: There are several
      Given an available multiattach volume "scratch"
      And "web-1" was attached to "scratch"
      And "web-2" was attached to "scratch"
      When "scratch" is detached
      Then the request is refused with "cannot detach while in-use"

  Rule: A host that could not be taken off may still write

    Scenario: It is said what went wrong
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be taken off "db"
      When "db" is looked at
      Then the answer shows "db" as in-use
      And the attachment of "web-1" to "db" is error_detaching because "the storage does not answer"

    Scenario: It is tried again
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be taken off "db"
      When "web-1" lets go of "db"
      Then "db" is available
      And no host reaches "db"

    Scenario: It asks again while the storage takes its time
      Given an available volume "db" on backend "faulty"
      And "web-1" has attached "db"
      And backend "faulty" does not answer when asked to disconnect a volume
      And the caller waits for a moment
      And "web-1" has asked to let go of "db"
      When "web-1" lets go of "db"
      Then the request is refused as unavailable with "it goes on with the work when it can"

    Scenario: The volume is not deleted under it
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be taken off "db"
      When "db" is deleted by force
      Then the request is refused with "cannot delete while in-use"
