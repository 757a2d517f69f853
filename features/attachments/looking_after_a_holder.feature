@wire
Feature: Looking after a holder
  A holder that is not heard of again must not block a volume for ever, and must
  not lose it while it writes. So nobody guesses: the storage is asked whether
  the host uses the volume.

  Background:
    Given a service that soon loses its patience

  Rule: A reservation that nobody uses is released

    Scenario: The holder is not heard of again
      Given an available volume "db"
      And "web-1" has reserved "db"
      When the deadline passes
      Then "db" is available
      And the log of "db" ends with "volume.released"

    Scenario: The service is not there when the time is up
      Given an available volume "db"
      And "web-1" has reserved "db"
      When the service is killed and started again
      Then "db" is available

    Scenario: A promise to whoever comes, and nobody does
      Given an available volume "db"
      And "db" was promised to whoever comes
      When the deadline passes
      Then "db" is available

  Rule: Whoever is attaching has attached if its host uses the volume

    Scenario: Its host uses it
      Given a volume "db" that is attaching
      And a process has "db" open
      When the deadline passes
      Then "db" is in-use
      And the log of "db" ends with "volume.session_found"

    Scenario: Its host never used it
      Given an available volume "db" on backend "faulty"
      And "web-1" is attaching "db"
      When the deadline passes
      Then "db" is available
      And no host reaches "db"

  Rule: Whoever is detaching has detached unless its host uses the volume

    Scenario: Its host no longer uses it
      Given an available volume "db" on backend "faulty"
      And "web-1" is detaching "db"
      When the deadline passes
      Then "db" is available
      And no host reaches "db"

    Scenario: Its host still uses it
      Given a volume "db" that is detaching
      And a process has "db" open
      When the deadline passes
      Then "db" is in-use
      And the attachment of "web-1" to "db" is attached

  Rule: Where nobody can tell, nothing changes

    Scenario: The storage fails to look
      Given a volume "db" that is detaching
      And backend "faulty" fails to watch volumes
      When the deadline passes
      Then the log of "db" ends with "volume.session_unclear"
      And "db" is detaching
