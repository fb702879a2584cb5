"""What laws ask of a released file: profiles, the rules that are checked on its bytes, and reports for auditors."""
