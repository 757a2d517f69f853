@wire
Feature: Connecting a host
  A host is told how it reaches a volume. What fails half way is taken back, its
  own way and no other, so that no host loses a volume that another one asked for.

  Rule: A host is told how it reaches a volume

    Scenario: For an attachment
      Given an available volume "db" on backend "faulty"
      And "web-1" has reserved "db"
      When "web-1" connects "db" on "node-1"
      Then the caller is told where "db" is
      And "node-1" reaches "db"

    Scenario: For no attachment
      Given an available volume "db" on backend "faulty"
      When "node-1" is given a way to "db"
      Then the caller is told where "db" is
      And "node-1" reaches "db"

    Scenario: What it may do
      Given an available read-only volume "books"
      When "node-1" is given a way to "books"
      Then the caller is told that it may read

  Rule: A way alone is no hold

    Scenario: The volume stays as it was
      Given an available volume "db"
      When "node-1" is given a way to "db"
      Then "db" is available
      And "db" has 0 attachments

    Scenario: It is given twice
      Given an available volume "db" on backend "faulty"
      And "node-1" was given a way to "db"
      When "node-1" is given a way to "db"
      Then the caller is told where "db" is

  Rule: A connection that fails takes back its own way and no other

    Scenario: Another host has a way
      Given "node-1" was given a way to "db" before its backend failed
      When "node-2" is given a way to "db"
      Then "node-2" does not reach "db"
      And "node-1" reaches "db"

    Scenario: Another instance has attached the volume
      Given an available multiattach volume "scratch" on backend "faulty"
      And "web-1" has attached "scratch" on "node-1"
      And "web-2" could not be connected to "scratch" on "node-2"
      When "scratch" is looked at
      Then "node-1" reaches "scratch"

    Scenario: It says why
      Given "node-1" was given a way to "db" before its backend failed
      When "node-2" is given a way to "db"
      Then the request is refused as fault with "the storage does not answer"

  Rule: A way that was there before a connection failed stays

    Scenario: The same host has attached the volume for another instance
      Given an available multiattach volume "scratch" on backend "faulty"
      And "web-1" has attached "scratch" on "node-1"
      And "web-2" could not be connected to "scratch" on "node-1"
      When "scratch" is looked at
      Then "node-1" reaches "scratch"

    Scenario: The same host was given a way before
      Given "node-1" was given a way to "db" before its backend failed
      When "node-1" is given a way to "db"
      Then the request is refused as fault
      And "node-1" reaches "db"

  Rule: A connection that failed says why, and the volume is free again

    Scenario: The attachment says why
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be connected to "db"
      When "db" is looked at
      Then the attachment of "web-1" to "db" is error_attaching because "the storage does not answer"
      And "db" is available

    Scenario: Somebody else may have the volume
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be connected to "db"
      When "web-2" reserves "db"
      Then "db" is reserved

    Scenario: The same holder begins anew
      Given an available volume "db" on backend "faulty"
      And "web-1" could not be connected to "db"
      And "web-1" let go of "db"
      When "web-1" reserves "db"
      Then "db" is reserved

  Rule: Whoever does not wait long enough learns that it goes on

    Scenario: The storage takes its time
      Given an available volume "db" on backend "faulty"
      And backend "faulty" does not answer when asked to connect a volume
      And the caller waits for a moment
      When "node-1" is given a way to "db"
      Then the request is refused as unavailable with "it goes on with the work when it can"

  Rule: A host says who it is

    Scenario Outline: It cannot be told from others
      Given an available volume "db"
      When a host that says <what> of itself is given a way to "db"
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | what             |
        | nothing          |
        | only its address |
        | no text          |
        | an empty name    |

    Scenario: An instance connects from nowhere
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-1" connects "db" from nowhere
      Then the request is refused as invalid
      And nothing is recorded

  Rule: Only a volume that is there can be reached

    Scenario: It is still being made
      Given "db" is being made
      When "node-1" is given a way to "db"
      Then the request is refused with "cannot connect while creating"

    Scenario: It could not be made
      Given a volume "db" that could not be made
      When "node-1" is given a way to "db"
      Then the request is refused with "cannot connect while error"

    Scenario: It is deleted
      Given a deleted volume "db"
      When "node-1" is given a way to "db"
      Then the request is refused with "cannot connect while deleted"
