"""Stories: what users, administrators, operators and attackers live through on a whole deployment."""
