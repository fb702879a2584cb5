"""What makes pictures, clips and sound, behind one port."""
