@wire
Feature: Serving a backend
  One agent at a time does a backend's work, for two would make the same volume
  twice. Who takes it over is in the log, and what is told by the one before
  counts no more.

  Rule: A backend is served by one agent

    Scenario: Another one comes while it is served
      When another agent comes to serve backend "files"
      Then the request is refused as conflict with "is served by an agent on"
      And nothing is recorded

    Scenario: It is taken over
      Given a service that can be killed
      When the service is killed and started again
      Then the log of backend "spare" ends with "backend.lease_taken"

  Rule: What an agent tells that was followed by another changes nothing

    Background:
      Given a service that can be killed
      And the service was killed and started again

    Scenario: It says that a volume is made
      Given "db" is being made
      When the first agent of backend "faulty" tells that "db" is made
      Then that agent is told that its lease is over
      And "db" is creating

    Scenario: It asks what there is to do
      When the first agent of backend "faulty" asks for its work
      Then that agent is told that its lease is over
