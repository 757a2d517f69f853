@wire
Feature: Setting up a backend
  A storage that is out of order says so in words, takes no new volumes, and is
  tried again when an operator has mended it. Nobody has to restart anything.

  Rule: A storage that works is set up as often as one likes

    Scenario: It is in use
      Given an available volume "db" on backend "spare"
      When backend "spare" is set up anew
      Then the request succeeds
      And backend "spare" works

    Scenario: The log keeps that it was
      When backend "spare" is set up anew
      Then the request succeeds
      And the log of backend "spare" ends with "backend.initialized"

  Rule: A storage that is out of order says why

    Scenario: It is found out of order
      Given the storage of backend "spare" is out of order
      When it is asked whether backend "spare" works
      Then backend "spare" does not work because "the storage does not answer"

    Scenario: The operator is told at once
      Given the storage of backend "spare" is out of order
      When backend "spare" is set up anew
      Then the request is refused as fault with "the storage does not answer"

    Scenario: It takes no new volume
      Given the storage of backend "spare" is out of order
      And backend "spare" does not work
      When a volume "db" of 1 GiB is created on backend "spare"
      Then the request is refused as no-capacity with "spare: does not work: the storage does not answer"

  Rule: A storage that was mended goes on with what it was asked

    Scenario: It is set up anew
      Given the storage of backend "spare" is out of order
      And backend "spare" behaved again
      When backend "spare" is set up anew
      Then backend "spare" works

    Scenario: Nobody says that it was mended
      Given the storage of backend "spare" is out of order
      And backend "spare" does not work
      When backend "spare" behaves again
      Then backend "spare" works

    Scenario: What was asked of it meanwhile is done
      Given an available volume "db" on backend "spare"
      And "db" was asked to be deleted while backend "spare" was out of order
      When backend "spare" is set up anew
      Then "db" is deleted

  Rule: A backend that never was is not found

    Scenario: It is set up
      When backend "nowhere" is set up anew
      Then the request is refused as not-found with "nowhere"
      And nothing is recorded
